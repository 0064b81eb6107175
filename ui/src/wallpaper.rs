//! The wallpaper: still water, drawn from the accent for any size.
//!
//! A few wave lines cross the screen, each lower one nearer. Every wave is one column of colour
//! that deepens downwards, so a picture is two small tables (the height of each wave at each column
//! and the colour of each wave at each row) and one write a pixel. The top third holds no wave:
//! that is where the clock stands, and its contrast never depends on the picture.

use slint::{Image, Rgb8Pixel, SharedPixelBuffer};

/// What a wallpaper is made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scene {
    /// The accent's colour, as red, green, blue.
    pub accent: [u8; 3],
    /// Whether it is the dark one.
    pub dark: bool,
}

/// One line of waves.
struct Wave {
    /// Where its middle lies, as a share of the height.
    level: f32,
    /// How far it swings, as a share of the shorter side.
    swing: f32,
    /// How many swings fit the width.
    turns: f32,
    /// Where the first swing begins, in turns.
    phase: f32,
    /// How much of the accent it carries at its crest, and at its foot.
    strength: [f32; 2],
}

const WAVES: [Wave; 5] = [
    Wave {
        level: 0.43,
        swing: 0.050,
        turns: 0.62,
        phase: 0.06,
        strength: [0.10, 0.16],
    },
    Wave {
        level: 0.53,
        swing: 0.062,
        turns: 0.78,
        phase: 0.48,
        strength: [0.20, 0.26],
    },
    Wave {
        level: 0.64,
        swing: 0.066,
        turns: 0.58,
        phase: 0.86,
        strength: [0.32, 0.38],
    },
    Wave {
        level: 0.755,
        swing: 0.060,
        turns: 0.72,
        phase: 0.28,
        strength: [0.46, 0.52],
    },
    Wave {
        level: 0.875,
        swing: 0.052,
        turns: 0.66,
        phase: 0.66,
        strength: [0.62, 0.72],
    },
];

impl Scene {
    /// The picture at a size in pixels. Widths and heights of zero are taken as one.
    pub fn draw(&self, width: u32, height: u32) -> Image {
        let mut buffer = SharedPixelBuffer::<Rgb8Pixel>::new(width.max(1), height.max(1));
        self.fill(
            buffer.make_mut_slice(),
            width.max(1) as usize,
            height.max(1) as usize,
        );
        Image::from_rgb8(buffer)
    }

    fn fill(&self, pixels: &mut [Rgb8Pixel], width: usize, height: usize) {
        let short = width.min(height) as f32;
        let edges: Vec<Vec<f32>> = WAVES
            .iter()
            .map(|wave| wave.edge(width, height as f32, short))
            .collect();
        let sky: Vec<Rgb8Pixel> = (0..height)
            .map(|row| self.sky(row as f32 / height as f32))
            .collect();
        let water: Vec<Vec<Rgb8Pixel>> = WAVES
            .iter()
            .map(|wave| {
                (0..height)
                    .map(|row| self.water(wave, row as f32 / height as f32))
                    .collect()
            })
            .collect();
        // The band of rows that a wave's edge passes through; outside it whole rows are one colour.
        let bands: Vec<(f32, f32)> = edges
            .iter()
            .map(|edge| {
                edge.iter()
                    .fold((f32::MAX, f32::MIN), |b, y| (b.0.min(*y), b.1.max(*y)))
            })
            .collect();

        for (row, line) in pixels.chunks_exact_mut(width).enumerate() {
            let y = row as f32;
            // The nearest wave that covers the whole row is its ground.
            let ground = bands.iter().rposition(|band| y >= band.1 + 1.0);
            line.fill(ground.map_or(sky[row], |wave| water[wave][row]));
            for wave in ground.map_or(0, |wave| wave + 1)..WAVES.len() {
                if y + 1.0 < bands[wave].0 {
                    continue;
                }
                let colour = water[wave][row];
                for (pixel, edge) in line.iter_mut().zip(&edges[wave]) {
                    // How much of this pixel lies under the edge.
                    let cover = (y + 1.0 - edge).clamp(0.0, 1.0);
                    if cover >= 1.0 {
                        *pixel = colour;
                    } else if cover > 0.0 {
                        *pixel = mix_pixel(*pixel, colour, cover);
                    }
                }
            }
        }
    }

    fn ground(&self) -> [f32; 3] {
        if self.dark {
            [11.0, 12.0, 15.0]
        } else {
            [241.0, 242.0, 245.0]
        }
    }

    /// What the accent becomes on this ground: deep at night, pale by day.
    fn tint(&self) -> [f32; 3] {
        let accent = self.accent.map(f32::from);
        let towards = if self.dark {
            [8.0, 10.0, 16.0]
        } else {
            [255.0, 255.0, 255.0]
        };
        let share = if self.dark { 0.42 } else { 0.30 };
        mix(accent, towards, share)
    }

    fn sky(&self, y: f32) -> Rgb8Pixel {
        // A breath of the hue, growing towards the water.
        let share = if self.dark {
            0.03 + 0.07 * y
        } else {
            0.03 + 0.10 * y
        };
        pixel(mix(self.ground(), self.tint(), share))
    }

    fn water(&self, wave: &Wave, y: f32) -> Rgb8Pixel {
        let depth = ((y - wave.level) / 0.22).clamp(0.0, 1.0);
        let share = wave.strength[0] + (wave.strength[1] - wave.strength[0]) * depth;
        pixel(mix(self.ground(), self.tint(), share))
    }
}

impl Wave {
    /// The height of the wave's edge at each column, in pixels from the top.
    fn edge(&self, width: usize, height: f32, short: f32) -> Vec<f32> {
        // Wide screens see more of the sea, not longer waves.
        let turns = self.turns * (width as f32 / short).max(1.0);
        (0..width)
            .map(|column| {
                let x = column as f32 / width as f32 * turns + self.phase;
                let angle = x * std::f32::consts::TAU;
                let height_at = angle.sin() * 0.78 + (angle * 0.5 + self.phase * 4.0).sin() * 0.42;
                self.level * height + height_at * self.swing * short
            })
            .collect()
    }
}

fn mix(from: [f32; 3], to: [f32; 3], share: f32) -> [f32; 3] {
    std::array::from_fn(|i| from[i] + (to[i] - from[i]) * share)
}

fn pixel(colour: [f32; 3]) -> Rgb8Pixel {
    let [r, g, b] = colour.map(|c| c.round().clamp(0.0, 255.0) as u8);
    Rgb8Pixel { r, g, b }
}

fn mix_pixel(under: Rgb8Pixel, over: Rgb8Pixel, share: f32) -> Rgb8Pixel {
    let under = [under.r, under.g, under.b].map(f32::from);
    pixel(mix(under, [over.r, over.g, over.b].map(f32::from), share))
}
