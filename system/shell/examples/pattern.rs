//! A test pattern, to see whether a new device's display and input work: it shows its corners, its
//! greys and where the finger is, moves something on a tap, and prints how well it keeps up.
//!
//! Fonts are not needed for it.

#![allow(missing_docs, reason = "the generated window has no documentation")]

use std::time::Duration;

use shell::display::find;
use shell::platform::{Hardware, Platform};
use slint::ComponentHandle;

slint::slint! {
    export component Pattern inherits Window {
        in property <bool> moved;
        callback tapped();
        background: #0b0c0f;
        for corner in [{ x: 0, y: 0 }, { x: 1, y: 0 }, { x: 0, y: 1 }, { x: 1, y: 1 }]: Rectangle {
            width: 40px; height: 40px;
            x: corner.x * (root.width - self.width);
            y: corner.y * (root.height - self.height);
            background: corner.x == 1 ? (corner.y == 1 ? #ffffff : #e5484d) : (corner.y == 1 ? #2fb170 : #5b5bd6);
        }
        for i in 8: Rectangle {
            x: root.width / 8 * i; y: root.height / 2 - 30px; width: root.width / 8; height: 60px;
            background: Colors.rgb(i * 36, i * 36, i * 36);
        }
        Rectangle {
            x: root.moved ? root.width - 100px : 60px; y: root.height - 160px; width: 40px; height: 40px;
            border-radius: 20px;
            background: #1aa6a0;
            animate x { duration: 600ms; easing: ease-in-out; }
        }
        area := TouchArea { clicked => { root.tapped(); } }
        if area.pressed: Rectangle {
            x: area.mouse-x - 12px; y: area.mouse-y - 12px; width: 24px; height: 24px;
            border-radius: 12px; background: #f0a020;
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let scale = std::env::args()
        .nth(1)
        .and_then(|scale| scale.parse().ok())
        .unwrap_or(1.5);
    let mut platform = Platform::new(find::open(Duration::from_secs(5))?, scale)?;
    let pattern = Pattern::new()?;
    pattern.show()?;
    platform.draw();
    platform.listen_to_devices();
    let screen = platform.screen();
    println!("{:?} pixels, scale {}", screen.size(), screen.scale());

    let weak = pattern.as_weak();
    pattern.on_tapped(move || {
        if let Some(pattern) = weak.upgrade() {
            pattern.set_moved(!pattern.get_moved());
        }
    });
    let control = platform.screen();
    platform.on_hardware(move |event| match event {
        Hardware::Touched => {}
        Hardware::PowerPressed => control.set_on(!control.is_on()),
        Hardware::VolumeUp => control.redraw(),
        other => println!("{other:?}"),
    });
    let report = slint::Timer::default();
    report.start(
        slint::TimerMode::Repeated,
        Duration::from_secs(5),
        move || {
            screen.statistics(|statistics| {
                let milliseconds = |times: Vec<Duration>| {
                    times
                        .iter()
                        .map(|time| time.as_secs_f32() * 1000.0)
                        .collect::<Vec<_>>()
                };
                println!(
                    "first frame {:?}; {} frames; touch to flip {:.1?} ms; redraws {:.1?} ms",
                    statistics.first_frame(),
                    statistics.frames(),
                    milliseconds(statistics.touch_to_flip().collect()),
                    milliseconds(
                        statistics
                            .redraws()
                            .map(|frame| frame.processor_time)
                            .collect()
                    ),
                );
                statistics.reset();
            });
        },
    );
    platform.run()?;
    Ok(())
}
