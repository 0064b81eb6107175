//! Types and codecs, by wRPC's own generator.

use anyhow::Result;
use wit_bindgen_core::Files;
use wit_bindgen_core::wit_parser::{Resolve, WorldId};
use wit_bindgen_wrpc_rust::Opts;

/// The types of a world with their codecs, without functions.
pub fn generate(resolve: &mut Resolve, world: WorldId) -> Result<String> {
    let options = Opts {
        generate_all: true,
        generate_unused_types: true,
        skip: resolve
            .interfaces
            .iter()
            .flat_map(|(_, interface)| interface.functions.keys().cloned())
            .collect(),
        // Spelled as the generator spells it for enums, which have it anyway, so that it sees that
        // the two are one.
        additional_derive_attributes: vec![":: core :: cmp :: PartialEq".into()],
        anyhow_path: Some("crate::wire::anyhow".into()),
        bytes_path: Some("crate::wire::bytes".into()),
        futures_path: Some("crate::wire::futures".into()),
        tokio_path: Some("crate::wire::tokio".into()),
        tokio_util_path: Some("crate::wire::tokio_util".into()),
        tracing_path: Some("crate::wire::tracing".into()),
        wasm_tokio_path: Some("crate::wire::wasm_tokio".into()),
        wrpc_transport_path: Some("crate::wire::wrpc_transport".into()),
        ..Opts::default()
    };
    let mut files = Files::default();
    options.build().generate(resolve, world, &mut files)?;
    super::only_file(&files)
}
