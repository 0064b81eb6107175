//! What a product is: one TOML file in `devices/`.
//!
//! The file says everything in which one device differs from another; nothing in the code asks for
//! a device by name. It is read here to build an image and to start an emulated machine, and by
//! the device itself as `/system/product.toml`, which is the same file. A key that nobody knows is
//! an error, so that a misspelt one cannot be without effect.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use crate::size::Size;

/// A product, as its file describes it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Product {
    /// The product's name, which is also its file's: `qemu-phone`.
    pub name: String,
    /// The product in words, for people: `Phone in QEMU`.
    pub model: String,
    /// What kind of device it is. The shell fits itself to the display; this only decides habits,
    /// such as whether there is a lock screen.
    pub form: Form,
    /// The services that run on it, by the names of their manifests.
    pub services: Vec<String>,
    /// Its display; none for a device without one.
    pub display: Option<Display>,
    /// Its kernel; none for a layer, which runs on the kernel of its host.
    pub kernel: Option<Kernel>,
    /// The kernel's drivers that are not built into it.
    #[serde(default)]
    pub modules: Modules,
    /// Its disk; none for a layer.
    pub disk: Option<Disk>,
    /// When a new release is kept; none for a layer.
    pub update: Option<Update>,
    /// The machine that QEMU makes for it; none where it cannot be emulated.
    pub machine: Option<Machine>,
}

/// The kinds of devices.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// Held in one hand, worked by touch.
    Phone,
    /// Held in two.
    Tablet,
    /// Seen from a sofa, worked by a remote control.
    Tv,
    /// Worn on the wrist.
    Watch,
    /// Built into a car.
    Car,
    /// Worked by keyboard and pointer.
    Computer,
    /// Without a display.
    Hub,
}

/// A display.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Display {
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Pixels for one logical pixel.
    pub scale: f64,
}

/// Where the kernel comes from.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum KernelKind {
    /// Built from Debian's kernel source with the product's own configuration.
    Own,
    /// Debian's, with its modules.
    Debian,
}

/// The kernel of a product.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Kernel {
    /// Where it comes from.
    pub kind: KernelKind,
    /// For an own kernel: the options that are merged over `make tinyconfig`, a path from the root
    /// of the repository.
    pub configuration: Option<String>,
    /// What the product adds to the kernel's command line.
    #[serde(default)]
    pub command_line: Vec<String>,
}

/// Drivers that Debian's kernel has as modules. What they depend on comes with them. A driver that
/// is built into the kernel is passed over.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Modules {
    /// Those that are needed to reach the root: loaded from the initramfs, in this order.
    #[serde(default)]
    pub initramfs: Vec<String>,
    /// What recovery needs beyond these to be seen and touched: loaded from its initramfs, in this order.
    #[serde(default)]
    pub recovery: Vec<String>,
    /// Those on the root, loaded when a device asks for them.
    #[serde(default)]
    pub system: Vec<String>,
}

/// The sizes of the partitions.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Disk {
    /// Each of `esp-a` and `esp-b`.
    pub boot_slot: Size,
    /// Each of `root-a` and `root-b`: the file system with its hash tree.
    pub root_slot: Size,
    /// `data`, as it is made. On a real disk it grows into what is left.
    pub data: Size,
}

/// When a new release is kept.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Update {
    /// What has to hold.
    pub health: Vec<Check>,
    /// By when, such as `5 min`; then the device goes back to the release before.
    pub within: String,
}

/// Something that has to hold before a release is kept: `system/init/src/slots/confirm.rs` says what
/// each of these asks.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Check {
    /// The shell has completed a frame.
    ShellDrew,
    /// The services run.
    Services,
    /// `/data` is on its disk and works.
    Data,
}

/// A machine in QEMU.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Machine {
    /// Memory.
    pub memory: Size,
    /// Processors.
    pub processors: u32,
    /// Further arguments for QEMU.
    #[serde(default)]
    pub arguments: Vec<String>,
}

impl Product {
    /// Reads the product `name` from `devices/`.
    ///
    /// # Errors
    ///
    /// Fails, naming the products that there are, when it does not exist, and with the line when
    /// its file is not as this module says.
    pub fn load(root: &Path, name: &str) -> Result<Self> {
        let path = root.join("devices").join(format!("{name}.toml"));
        if !path.exists() {
            bail!(
                "there is no product {name:?}: devices/ has {}",
                Self::names(root)?.join(", ")
            );
        }
        let text =
            fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        Self::parse(name, &text).with_context(|| format!("in {}", path.display()))
    }

    fn parse(name: &str, text: &str) -> Result<Self> {
        let product: Self = toml::from_str(text)?;
        if product.name != name {
            bail!(
                "the product calls itself {:?}: name and file name must be the same",
                product.name
            );
        }
        if product.kernel.is_some() != product.disk.is_some() {
            bail!(
                "a product has both [kernel] and [disk], or, as a layer on another system, neither"
            );
        }
        if let Some(kernel) = &product.kernel
            && (kernel.kind == KernelKind::Own) != kernel.configuration.is_some()
        {
            bail!("`configuration` in [kernel] goes with kind = \"own\", and only with it");
        }
        Ok(product)
    }

    /// The names of all products, sorted.
    ///
    /// # Errors
    ///
    /// Fails when `devices/` cannot be read.
    pub fn names(root: &Path) -> Result<Vec<String>> {
        let folder = root.join("devices");
        let mut names = Vec::new();
        for entry in
            fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))?
        {
            let path = entry?.path();
            if path
                .extension()
                .is_some_and(|extension| extension == "toml")
                && let Some(stem) = path.file_stem().and_then(|stem| stem.to_str())
            {
                names.push(stem.to_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    /// Whether it runs as a layer on another system rather than on a machine of its own.
    #[must_use]
    pub fn is_layer(&self) -> bool {
        self.kernel.is_none()
    }

    /// The kernel, disk and machine of a product that has them.
    ///
    /// # Errors
    ///
    /// Fails for a layer.
    pub fn hardware(&self) -> Result<(&Kernel, &Disk)> {
        match (&self.kernel, &self.disk) {
            (Some(kernel), Some(disk)) => Ok((kernel, disk)),
            _ => bail!(
                "{} is a layer on another system and has no image",
                self.name
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_product_in_the_repository_is_valid() {
        let root = crate::paths::repository().unwrap();
        let names = Product::names(&root).unwrap();
        assert!(names.len() >= 3, "{names:?}");
        for name in names {
            Product::load(&root, &name).unwrap();
        }
    }

    #[test]
    fn a_misspelt_key_is_reported_with_its_line() {
        let error = Product::parse("x", "name = 'x'\nmodel = 'X'\nfrom = 'phone'\n").unwrap_err();
        assert!(format!("{error:#}").contains("line 3"), "{error:#}");
    }

    #[test]
    fn name_and_file_name_agree() {
        let error =
            Product::parse("x", "name='y'\nmodel='Y'\nform='hub'\nservices=[]").unwrap_err();
        assert!(error.to_string().contains("file name"), "{error}");
    }
}
