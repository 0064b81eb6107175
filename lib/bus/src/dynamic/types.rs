//! Types of WIT as types of WAVE.

use wasm_wave::value::Type;
use wit_parser::{Resolve, Type as Wit, TypeDefKind};

/// The type of WAVE that has the values of a type of WIT; an error names what has none.
pub fn wave(resolve: &Resolve, ty: &Wit) -> Result<Type, String> {
    let optional = |ty: &Option<Wit>| ty.as_ref().map(|ty| wave(resolve, ty)).transpose();
    let none = |what: &str| format!("{what} cannot be written as text");
    Ok(match ty {
        Wit::Bool => Type::BOOL,
        Wit::U8 => Type::U8,
        Wit::U16 => Type::U16,
        Wit::U32 => Type::U32,
        Wit::U64 => Type::U64,
        Wit::S8 => Type::S8,
        Wit::S16 => Type::S16,
        Wit::S32 => Type::S32,
        Wit::S64 => Type::S64,
        Wit::F32 => Type::F32,
        Wit::F64 => Type::F64,
        Wit::Char => Type::CHAR,
        Wit::String => Type::STRING,
        Wit::ErrorContext => return Err(none("an error context")),
        Wit::Id(id) => {
            let kind = &resolve.types[*id].kind;
            let made = match kind {
                TypeDefKind::Type(ty) => return wave(resolve, ty),
                TypeDefKind::Option(ty) => Some(Type::option(wave(resolve, ty)?)),
                TypeDefKind::List(ty) => Some(Type::list(wave(resolve, ty)?)),
                TypeDefKind::Result(result) => {
                    Some(Type::result(optional(&result.ok)?, optional(&result.err)?))
                }
                TypeDefKind::Tuple(tuple) => {
                    let types = tuple
                        .types
                        .iter()
                        .map(|ty| wave(resolve, ty))
                        .collect::<Result<Vec<_>, _>>()?;
                    Type::tuple(types)
                }
                TypeDefKind::Record(record) => {
                    let field = |field: &wit_parser::Field| {
                        Ok((field.name.clone(), wave(resolve, &field.ty)?))
                    };
                    Type::record(
                        record
                            .fields
                            .iter()
                            .map(field)
                            .collect::<Result<Vec<_>, String>>()?,
                    )
                }
                TypeDefKind::Variant(variant) => {
                    let case =
                        |case: &wit_parser::Case| Ok((case.name.clone(), optional(&case.ty)?));
                    Type::variant(
                        variant
                            .cases
                            .iter()
                            .map(case)
                            .collect::<Result<Vec<_>, String>>()?,
                    )
                }
                TypeDefKind::Enum(cases) => {
                    Type::enum_ty(cases.cases.iter().map(|case| case.name.clone()))
                }
                other => return Err(none(other.as_str())),
            };
            made.ok_or_else(|| none("an empty type"))?
        }
    })
}

/// A type as WIT writes it.
pub fn name(resolve: &Resolve, ty: &Wit) -> String {
    let optional = |ty: &Option<Wit>| ty.as_ref().map_or("_".into(), |ty| name(resolve, ty));
    match ty {
        Wit::Bool => "bool".into(),
        Wit::U8 => "u8".into(),
        Wit::U16 => "u16".into(),
        Wit::U32 => "u32".into(),
        Wit::U64 => "u64".into(),
        Wit::S8 => "s8".into(),
        Wit::S16 => "s16".into(),
        Wit::S32 => "s32".into(),
        Wit::S64 => "s64".into(),
        Wit::F32 => "f32".into(),
        Wit::F64 => "f64".into(),
        Wit::Char => "char".into(),
        Wit::String => "string".into(),
        Wit::ErrorContext => "error-context".into(),
        Wit::Id(id) => {
            let definition = &resolve.types[*id];
            if let Some(name) = &definition.name {
                return name.clone();
            }
            match &definition.kind {
                TypeDefKind::Option(ty) => format!("option<{}>", name(resolve, ty)),
                TypeDefKind::List(ty) => format!("list<{}>", name(resolve, ty)),
                TypeDefKind::Stream(Some(ty)) => format!("stream<{}>", name(resolve, ty)),
                TypeDefKind::Result(result) => match (&result.ok, &result.err) {
                    (None, None) => "result".into(),
                    (Some(ok), None) => format!("result<{}>", name(resolve, ok)),
                    (ok, err) => format!("result<{}, {}>", optional(ok), optional(err)),
                },
                TypeDefKind::Tuple(tuple) => {
                    let types: Vec<_> = tuple.types.iter().map(|ty| name(resolve, ty)).collect();
                    format!("tuple<{}>", types.join(", "))
                }
                other => other.as_str().into(),
            }
        }
    }
}
