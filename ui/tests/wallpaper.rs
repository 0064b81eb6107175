//! The wallpaper leaves room for words.

use slint::Rgba8Pixel;
use ui::wallpaper::Scene;

fn drawn(dark: bool, width: u32, height: u32) -> Vec<Rgba8Pixel> {
    let picture = Scene {
        accent: [0x1a, 0xa6, 0xa0],
        dark,
    }
    .draw(width, height);
    picture.to_rgba8().unwrap().as_slice().to_vec()
}

fn lightness(pixel: &Rgba8Pixel) -> u32 {
    (u32::from(pixel.r) * 2 + u32::from(pixel.g) * 5 + u32::from(pixel.b)) / 8
}

#[test]
fn the_top_third_is_quiet_at_every_shape() {
    for (width, height) in [(540, 1200), (1280, 720), (360, 640), (3, 1)] {
        for dark in [false, true] {
            let pixels = drawn(dark, width, height);
            let top = &pixels[..(width * height.div_ceil(3).max(1)) as usize];
            let least = top.iter().map(lightness).min().unwrap();
            let most = top.iter().map(lightness).max().unwrap();
            assert!(
                most - least <= 12,
                "{width}×{height}, dark {dark}: {least} to {most}"
            );
        }
    }
}

#[test]
fn light_is_light_and_dark_is_dark() {
    assert!(
        drawn(false, 90, 200)
            .iter()
            .all(|pixel| lightness(pixel) > 110)
    );
    assert!(
        drawn(true, 90, 200)
            .iter()
            .all(|pixel| lightness(pixel) < 110)
    );
}

#[test]
fn a_window_without_size_is_no_trouble() {
    assert_eq!(drawn(true, 0, 0).len(), 1);
}
