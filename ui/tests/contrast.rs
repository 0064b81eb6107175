//! Text can be read on whatever it stands on, in every accent, light and dark.

use slint::platform::software_renderer::{MinimalSoftwareWindow, RepaintBufferType};
use slint::platform::{Platform, WindowAdapter};
use slint::{Color, ComponentHandle as _};
use std::rc::Rc;

struct Nothing;

impl Platform for Nothing {
    fn create_window_adapter(&self) -> Result<Rc<dyn WindowAdapter>, slint::PlatformError> {
        Ok(MinimalSoftwareWindow::new(RepaintBufferType::NewBuffer))
    }
}

/// Relative luminance, as WCAG defines it.
fn luminance(colour: Color) -> f64 {
    let channel = |value: u8| {
        let value = f64::from(value) / 255.0;
        if value <= 0.04045 {
            value / 12.92
        } else {
            ((value + 0.055) / 1.055).powf(2.4)
        }
    };
    let colour = colour.to_argb_u8();
    0.2126 * channel(colour.red) + 0.7152 * channel(colour.green) + 0.0722 * channel(colour.blue)
}

fn contrast(a: Color, b: Color) -> f64 {
    let (a, b) = (luminance(a), luminance(b));
    (a.max(b) + 0.05) / (a.min(b) + 0.05)
}

#[test]
fn every_pair_that_carries_text_has_contrast() {
    slint::platform::set_platform(Box::new(Nothing)).unwrap();
    let window = ui::RootWindow::new().unwrap();
    let theme = window.global::<ui::Theme<'_>>();
    let palette = window.global::<ui::Palette<'_>>();
    for dark in [false, true] {
        for (accent, name) in ui::ACCENTS.iter().enumerate() {
            theme.set_dark(dark);
            theme.set_accent(accent as i32);
            let grounds = [palette.get_ground(), palette.get_surface()];
            for (what, over) in [
                ("text", palette.get_text()),
                ("second", palette.get_second()),
                ("accent-text", palette.get_accent_text()),
                ("danger-text", palette.get_danger_text()),
                ("caution-text", palette.get_caution_text()),
                ("good-text", palette.get_good_text()),
            ] {
                for ground in grounds {
                    let contrast = contrast(over, ground);
                    assert!(
                        contrast >= 4.5,
                        "{what}, {name}, dark {dark}: {contrast:.2}"
                    );
                }
            }
            let on = contrast(palette.get_on_accent(), palette.get_accent());
            assert!(on >= 4.5, "on-accent, {name}: {on:.2}");
            let disc = contrast(palette.get_accent_text(), palette.get_accent_soft());
            assert!(
                disc >= 3.0,
                "a glyph on a disc, {name}, dark {dark}: {disc:.2}"
            );
        }
    }
}
