//! The functions to call an interface and the trait to serve it.

use std::fmt::Write as _;

use anyhow::{Context as _, Result, bail};
use heck::{ToSnakeCase as _, ToUpperCamelCase as _};
use wit_bindgen_core::wit_parser::{
    Docs, Function, FunctionKind, InterfaceId, Resolve, Type, TypeDefKind, TypeId,
};

/// The module of one interface.
pub fn generate(resolve: &Resolve, id: &str, interface: InterfaceId) -> Result<String> {
    let definition = &resolve.interfaces[interface];
    let name = definition
        .name
        .as_deref()
        .context("an interface without a name")?;
    let package = &resolve.packages[definition
        .package
        .context("an interface without a package")?]
    .name;
    let module = identifier(name);
    let mut out = String::new();

    docs(&mut out, "", &definition.docs, id);
    writeln!(out, "pub mod {module} {{")?;
    writeln!(
        out,
        "    #[allow(unused_imports, reason = \"not every interface has types\")]\n    pub use crate::types::{}::{}::{module}::*;",
        identifier(&package.namespace),
        identifier(&package.name)
    )?;
    writeln!(
        out,
        "    /// The interface's full name.\n    pub const ID: &str = {id:?};"
    )?;

    let mut methods = String::new();
    let mut arms = String::new();
    for function in definition.functions.values() {
        let function =
            Signature::new(resolve, function).with_context(|| format!("{id}.{}", function.name))?;
        function.client(&mut out)?;
        function.method(&mut methods)?;
        function.arm(&mut arms)?;
    }
    write!(
        out,
        r#"
    /// What a program that serves this interface implements.
    pub trait Handler: Send + Sync + 'static {{
{methods}    }}

    /// What [`crate::Server::serve`] takes: this interface, answered by a handler.
    pub fn interface(handler: impl Handler) -> crate::Interface {{
        crate::Interface::new(ID, Served(::std::sync::Arc::new(handler)))
    }}

    struct Served<H>(::std::sync::Arc<H>);

    impl<H: Handler> crate::server::Dispatch for Served<H> {{
        fn dispatch(&self, function: &str, call: crate::server::Call) -> ::core::result::Result<crate::server::Work, crate::server::Call> {{
            match function {{
{arms}                _ => Err(call),
            }}
        }}
    }}
}}
"#
    )?;
    Ok(out)
}

/// A function as this crate carries it.
struct Signature<'a> {
    resolve: &'a Resolve,
    function: &'a Function,
    /// Name and type.
    parameters: Vec<(String, Type)>,
    answer: Answer,
}

/// What a function answers.
enum Answer {
    Nothing,
    Value(Type),
    /// A stream is the whole answer; nowhere else does this crate carry one.
    Stream(Type),
}

impl<'a> Signature<'a> {
    fn new(resolve: &'a Resolve, function: &'a Function) -> Result<Self> {
        if function.kind != FunctionKind::Freestanding {
            bail!("only plain functions are carried; resources are not");
        }
        let mut parameters = Vec::new();
        for parameter in &function.params {
            plain(resolve, &parameter.ty)
                .with_context(|| format!("parameter {}", parameter.name))?;
            parameters.push((identifier(&parameter.name), parameter.ty));
        }
        let answer = match function.result {
            None => Answer::Nothing,
            Some(Type::Id(id)) => match resolve.types[id].kind {
                TypeDefKind::Stream(Some(item)) => {
                    plain(resolve, &item).context("the stream that it answers")?;
                    Answer::Stream(item)
                }
                _ => Answer::Value(Type::Id(id)),
            },
            Some(plain) => Answer::Value(plain),
        };
        if let Answer::Value(value) = &answer {
            plain(resolve, value).context("the value that it answers")?;
        }
        Ok(Self {
            resolve,
            function,
            parameters,
            answer,
        })
    }

    fn client(&self, out: &mut String) -> Result<()> {
        let wit = &self.function.name;
        docs(out, "    ", &self.function.docs, wit);
        let mut parameters = String::new();
        let mut tuple = String::new();
        for (name, ty) in &self.parameters {
            write!(parameters, ", {name}: {}", borrowed(self.resolve, ty)?)?;
            write!(tuple, "{name}, ")?;
        }
        let (answer, call) = match &self.answer {
            Answer::Nothing => ("()".into(), "call_nothing"),
            Answer::Value(ty) => (owned(self.resolve, ty)?, "call"),
            Answer::Stream(ty) => (
                format!("crate::Incoming<{}>", owned(self.resolve, ty)?),
                "call_stream",
            ),
        };
        writeln!(
            out,
            "    pub async fn {}(bus: &crate::Client{parameters}) -> ::core::result::Result<{answer}, crate::Error> {{\n\
             \x20       bus.{call}(ID, {wit:?}, ({tuple})).await\n    }}",
            identifier(wit),
        )?;
        Ok(())
    }

    fn method(&self, out: &mut String) -> Result<()> {
        docs(out, "        ", &self.function.docs, &self.function.name);
        let mut parameters = String::new();
        for (name, ty) in &self.parameters {
            write!(parameters, ", {name}: {}", owned(self.resolve, ty)?)?;
        }
        let answer = match &self.answer {
            Answer::Nothing => "()".into(),
            Answer::Value(ty) => owned(self.resolve, ty)?,
            Answer::Stream(ty) => format!("crate::Outgoing<{}>", owned(self.resolve, ty)?),
        };
        writeln!(
            out,
            "        fn {}(&self, caller: crate::Caller{parameters}) -> impl ::core::future::Future<Output = {answer}> + Send;",
            identifier(&self.function.name),
        )?;
        Ok(())
    }

    fn arm(&self, out: &mut String) -> Result<()> {
        let (mut types, mut names) = (String::new(), String::new());
        for (name, ty) in &self.parameters {
            write!(types, "{}, ", owned(self.resolve, ty)?)?;
            write!(names, "{name}, ")?;
        }
        let method = identifier(&self.function.name);
        // No parameter's name ends like `caller_`, whatever WIT calls it.
        let arguments = if names.is_empty() {
            "caller_".into()
        } else {
            format!("caller_, {}", names.trim_end_matches(", "))
        };
        let answer = match &self.answer {
            Answer::Nothing => format!("handler.{method}({arguments}).await; reply_.value(())"),
            Answer::Value(_) => {
                format!("let answer = handler.{method}({arguments}).await; reply_.value((answer,))")
            }
            Answer::Stream(_) => format!(
                "let items = handler.{method}({arguments}).await; reply_.stream(items).await"
            ),
        };
        writeln!(
            out,
            "                {:?} => {{\n\
             \x20                   let handler = ::std::sync::Arc::clone(&self.0);\n\
             \x20                   Ok(::std::boxed::Box::pin(async move {{\n\
             \x20                       if let Some((caller_, ({names}), reply_)) = call.parameters::<({types})>() {{ {answer} }}\n\
             \x20                   }}))\n\
             \x20               }}",
            self.function.name,
        )?;
        Ok(())
    }
}

/// Refuses what would need a channel of its own inside a value.
fn plain(resolve: &Resolve, ty: &Type) -> Result<()> {
    match ty {
        Type::ErrorContext => bail!("error contexts are not carried"),
        Type::Id(id) => match &resolve.types[*id].kind {
            TypeDefKind::Stream(_) | TypeDefKind::Future(_) => {
                bail!("a stream is carried only as the whole answer of a function")
            }
            TypeDefKind::Resource | TypeDefKind::Handle(_) => bail!("resources are not carried"),
            TypeDefKind::Option(ty) | TypeDefKind::List(ty) | TypeDefKind::Type(ty) => {
                plain(resolve, ty)
            }
            TypeDefKind::Result(result) => [result.ok, result.err]
                .iter()
                .flatten()
                .try_for_each(|ty| plain(resolve, ty)),
            TypeDefKind::Tuple(tuple) => tuple.types.iter().try_for_each(|ty| plain(resolve, ty)),
            TypeDefKind::Record(record) => record
                .fields
                .iter()
                .try_for_each(|field| plain(resolve, &field.ty)),
            TypeDefKind::Variant(variant) => variant
                .cases
                .iter()
                .filter_map(|case| case.ty)
                .try_for_each(|ty| plain(resolve, &ty)),
            TypeDefKind::Enum(_) | TypeDefKind::Flags(_) => Ok(()),
            other => bail!("{} is not carried", other.as_str()),
        },
        _ => Ok(()),
    }
}

/// A type as a value of its own.
fn owned(resolve: &Resolve, ty: &Type) -> Result<String> {
    Ok(match ty {
        Type::Bool => "bool".into(),
        Type::U8 => "u8".into(),
        Type::U16 => "u16".into(),
        Type::U32 => "u32".into(),
        Type::U64 => "u64".into(),
        Type::S8 => "i8".into(),
        Type::S16 => "i16".into(),
        Type::S32 => "i32".into(),
        Type::S64 => "i64".into(),
        Type::F32 => "f32".into(),
        Type::F64 => "f64".into(),
        Type::Char => "char".into(),
        Type::String => "::std::string::String".into(),
        Type::ErrorContext => bail!("error contexts are not carried"),
        Type::Id(id) => return composed(resolve, *id, &owned),
    })
}

/// A type as a parameter of a call: text, lists and named types by reference.
fn borrowed(resolve: &Resolve, ty: &Type) -> Result<String> {
    Ok(match ty {
        Type::String => "&str".into(),
        Type::Id(id) if resolve.types[*id].name.is_some() => format!("&{}", owned(resolve, ty)?),
        Type::Id(id) => match &resolve.types[*id].kind {
            TypeDefKind::List(item) => format!("&[{}]", owned(resolve, item)?),
            _ => return composed(resolve, *id, &borrowed),
        },
        plain => return owned(resolve, plain),
    })
}

fn composed(
    resolve: &Resolve,
    id: TypeId,
    inner: &dyn Fn(&Resolve, &Type) -> Result<String>,
) -> Result<String> {
    let definition = &resolve.types[id];
    if let Some(name) = &definition.name {
        return Ok(name.to_upper_camel_case());
    }
    Ok(match &definition.kind {
        TypeDefKind::Option(ty) => format!("::core::option::Option<{}>", inner(resolve, ty)?),
        TypeDefKind::List(ty) => format!("::std::vec::Vec<{}>", inner(resolve, ty)?),
        TypeDefKind::Result(result) => {
            let side =
                |ty: &Option<Type>| ty.as_ref().map_or(Ok("()".into()), |ty| inner(resolve, ty));
            format!(
                "::core::result::Result<{}, {}>",
                side(&result.ok)?,
                side(&result.err)?
            )
        }
        TypeDefKind::Tuple(tuple) => {
            let mut types = String::from("(");
            for ty in &tuple.types {
                write!(types, "{}, ", inner(resolve, ty)?)?;
            }
            types + ")"
        }
        other => bail!("{} is not carried", other.as_str()),
    })
}

/// The first sentence of an interface's documentation, without its full stop.
pub fn purpose(docs: &Docs) -> String {
    let text = docs.contents.as_deref().unwrap_or_default();
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let first = text.split_once(". ").map_or(&*text, |(first, _)| first);
    first.trim_end_matches('.').to_owned()
}

fn docs(out: &mut String, indent: &str, docs: &Docs, otherwise: &str) {
    let text = docs
        .contents
        .as_deref()
        .map(str::trim)
        .filter(|text| !text.is_empty());
    let fallback = format!("`{otherwise}`.");
    for line in text.unwrap_or(&fallback).lines() {
        let _ = writeln!(out, "{indent}/// {line}");
    }
}

/// A name of WIT as one of Rust.
fn identifier(name: &str) -> String {
    let name = name.to_snake_case();
    match name.as_str() {
        "as" | "async" | "await" | "box" | "break" | "const" | "continue" | "crate" | "dyn"
        | "else" | "enum" | "extern" | "false" | "fn" | "for" | "if" | "impl" | "in" | "let"
        | "loop" | "match" | "mod" | "move" | "mut" | "pub" | "ref" | "return" | "self"
        | "static" | "struct" | "super" | "trait" | "true" | "type" | "unsafe" | "use"
        | "where" | "while" | "yield" => name + "_",
        _ => name,
    }
}
