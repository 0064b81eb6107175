//! Where this runs: what its environment and the product say.

use std::path::{Path, PathBuf};

use serde::Deserialize;

/// The paths that a service is given, and the product's display.
#[derive(Debug, Clone, PartialEq)]
pub struct Surroundings {
    /// The system's own files.
    pub system: PathBuf,
    /// What this program keeps; none where it was given nothing.
    pub data: Option<PathBuf>,
    /// What the product says about its display.
    pub display: ProductDisplay,
}

/// What the product says about its display.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub struct ProductDisplay {
    /// Pixels, where the display does not say itself.
    pub width: u32,
    /// Pixels, where the display does not say itself.
    pub height: u32,
    /// Pixels for one logical pixel.
    pub scale: f32,
}

impl Default for ProductDisplay {
    fn default() -> Self {
        Self {
            width: 540,
            height: 1200,
            scale: 1.5,
        }
    }
}

#[derive(Deserialize)]
struct Product {
    display: Option<ProductDisplay>,
}

impl Surroundings {
    /// As the environment says.
    pub fn from_environment() -> Self {
        let system =
            std::env::var_os("HYPER_SYSTEM").map_or_else(|| "/system".into(), PathBuf::from);
        let data = std::env::var_os("HYPER_DATA").map(PathBuf::from);
        let display = match product_display(&system.join("product.toml")) {
            Ok(display) => display,
            Err(reason) => {
                let usual = ProductDisplay::default();
                tracing::warn!(
                    "the product does not say what its display is like: {reason}; taking {usual:?}"
                );
                usual
            }
        };
        Self {
            system,
            data,
            display,
        }
    }

    /// Where typefaces are: the system's, and a desktop's when this is a layer on one.
    pub fn fonts(&self) -> Vec<PathBuf> {
        vec![
            self.system.join("share/fonts"),
            "/usr/share/fonts/opentype".into(),
        ]
    }
}

fn product_display(file: &Path) -> Result<ProductDisplay, String> {
    let text =
        std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let product: Product =
        toml::from_str(&text).map_err(|error| format!("{}: {error}", file.display()))?;
    let display = product
        .display
        .ok_or_else(|| format!("{}: there is no [display]", file.display()))?;
    if !(0.5..=8.0).contains(&display.scale) {
        return Err(format!(
            "{}: a scale of {} is not between 0.5 and 8",
            file.display(),
            display.scale
        ));
    }
    Ok(display)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<ProductDisplay, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("product.toml");
        std::fs::write(&file, text).unwrap();
        product_display(&file)
    }

    #[test]
    fn the_scale_comes_from_the_product() {
        let product = "name = \"watch\"\n[display]\nwidth = 360\nheight = 360\nscale = 2.0\n[disk]\ndata = \"1 GiB\"\n";
        assert_eq!(read(product).unwrap().scale, 2.0);
    }

    #[test]
    fn a_broken_product_is_told_with_its_file_and_reason() {
        assert!(read("name = 3").unwrap_err().contains("no [display]"));
        assert!(
            read("[display]\nwidth = 1\nheight = 1\nscale = 0.0")
                .unwrap_err()
                .contains("not between")
        );
        assert!(read("[display").unwrap_err().contains("product.toml"));
    }
}
