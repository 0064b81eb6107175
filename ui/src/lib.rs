//! The design language of HyperOS: tokens, components, icons, typefaces, motion, words.
//!
//! Everything that is seen is written in `.slint` files here and compiled into one root component,
//! [`RootWindow`], which fills the window it is given, whatever its size. What it shows stands in
//! exported globals (`Clock`, `Network`, `Services`, …) that the shell fills; what the person asks
//! for comes back as their callbacks. The shell never names a colour, a size, a radius or a
//! duration: those are tokens (`tokens.slint`), and a design that changes them changes no Rust.
//!
//! It promises:
//! - **one look**: each kind of thing is drawn by one component, in light and dark, from 85 % to
//!   200 % text size, at any window size from 360 × 640 logical pixels;
//! - **true words**: every sentence is translated in every language of [`LANGUAGES`], which a test
//!   checks, and nothing is shown that the shell did not say;
//! - **quiet**: nothing here moves by itself; an idle screen asks for no frame.
//!
//! The renderer is Slint's software renderer, so the design uses neither blur nor rounded
//! gradients, and prefers opaque surfaces: overlapping translucent ones are what costs.

#![allow(
    missing_docs,
    reason = "the generated code has no documentation of its own"
)]

pub mod fonts;
pub mod wallpaper;

#[allow(
    clippy::all,
    clippy::undocumented_unsafe_blocks,
    unsafe_op_in_unsafe_fn,
    rust_2018_idioms,
    unused
)]
mod generated {
    slint::include_modules!();
}
pub use generated::*;

/// The languages that every sentence is translated to, as BCP 47 tags, the source first. Their
/// order is that of `Preferences.language`.
pub const LANGUAGES: [&str; 3] = ["en", "zh-CN", "es"];

/// The names of the accents in the order of `Theme.accent`.
pub const ACCENTS: [&str; 6] = ["tide", "ember", "iris", "moss", "rose", "slate"];
