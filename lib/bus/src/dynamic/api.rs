//! The interfaces of the system, by name.

use std::fmt;

use wasm_wave::value::{Type, Value};
use wasm_wave::wasm::{WasmType as _, WasmTypeKind};
use wit_parser::{Function as WitFunction, InterfaceId, Resolve, Type as WitType, TypeDefKind};

use super::types;

/// Every interface that this build knows.
#[derive(Debug)]
pub struct Api {
    resolve: Resolve,
    interfaces: Vec<(String, InterfaceId)>,
}

/// One interface, for reading.
#[derive(Clone, Debug)]
pub struct InterfaceText {
    /// In full, such as `hyper:settings/settings@1.0.0`.
    pub id: String,
    /// What it is for: the first sentence of its documentation.
    pub summary: String,
    /// Its functions, as WIT writes them.
    pub functions: Vec<String>,
    /// Its definition with its documentation, as it stands in `wit/`.
    pub text: String,
}

/// A function that can be called.
#[derive(Clone, Debug)]
pub struct Function {
    /// The interface in full.
    pub interface: String,
    /// Its name in WIT.
    pub name: String,
    /// As WIT writes it, such as `get: func(key: string) -> result<value, error>`.
    pub signature: String,
    pub(super) parameters: Vec<Parameter>,
    pub(super) returns: Returns,
}

/// A parameter of a function.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// Its name in WIT.
    pub name: String,
    /// Its type in WIT.
    pub written: String,
    /// What values it takes.
    pub kind: Type,
}

/// What a function answers.
#[derive(Clone, Debug)]
pub enum Returns {
    /// Nothing but that it is done.
    Nothing,
    /// A value.
    Value(Type),
    /// A stream of values.
    Stream(Type),
}

/// Why a name or an argument cannot be used.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Problem {
    /// No such interface.
    Interface {
        /// What was asked for.
        name: String,
        /// Names that are like it, nearest first.
        near: Vec<String>,
    },
    /// No such function.
    Function {
        /// The interface in full.
        interface: String,
        /// What was asked for.
        name: String,
        /// Names that are like it, nearest first; else all.
        near: Vec<String>,
    },
    /// Not `interface.function` at all.
    Form(String),
    /// Too many arguments or too few.
    Count {
        /// The function as WIT writes it, behind its interface.
        signature: String,
        /// How many it takes.
        takes: usize,
        /// How many were given.
        given: usize,
    },
    /// An argument that is not a value of its type.
    Argument {
        /// Interface and function.
        function: String,
        /// The parameter.
        name: String,
        /// Its type in WIT.
        written: String,
        /// What was given.
        given: String,
        /// Why it is not.
        reason: String,
    },
    /// A definition in `wit/` that cannot be used from a command line.
    Definition(String),
}

impl std::error::Error for Problem {}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interface { name, near } if near.is_empty() => {
                write!(f, "there is no interface {name}; `hyper api` lists them")
            }
            Self::Interface { name, near } => write!(
                f,
                "there is no interface {name}; did you mean {}?",
                near.join(", ")
            ),
            Self::Function {
                interface,
                name,
                near,
            } => {
                write!(
                    f,
                    "{interface} has no function {name}; did you mean {}?",
                    near.join(", ")
                )
            }
            Self::Form(given) => write!(
                f,
                "{given} is not of the form interface.function, such as settings.get"
            ),
            Self::Count {
                signature,
                takes,
                given,
            } => {
                let plural = if *takes == 1 { "" } else { "s" };
                write!(
                    f,
                    "{signature}: takes {takes} argument{plural}, {given} given"
                )
            }
            Self::Argument {
                function,
                name,
                written,
                given,
                reason,
            } => {
                write!(
                    f,
                    "{function}: argument {name}: `{given}` is not a {written}: {reason}"
                )
            }
            Self::Definition(reason) => f.write_str(reason),
        }
    }
}

impl Api {
    /// Reads the texts that are built in.
    pub fn new() -> Result<Self, Problem> {
        let mut resolve = Resolve::default();
        let mut interfaces = Vec::new();
        for (file, text) in crate::WIT {
            let package = resolve
                .push_source(file, text)
                .map_err(|error| Problem::Definition(format!("wit/{file}: {error:?}")))?;
            for interface in resolve.packages[package].interfaces.values().copied() {
                interfaces.extend(resolve.id_of(interface).map(|id| (id, interface)));
            }
        }
        interfaces.sort();
        Ok(Self {
            resolve,
            interfaces,
        })
    }

    /// Every interface, in the order of names.
    pub fn interfaces(&self) -> Vec<InterfaceText> {
        self.interfaces
            .iter()
            .map(|(id, interface)| self.describe(id, *interface))
            .collect()
    }

    /// One interface: in full, without its version, or by its last name.
    pub fn interface(&self, name: &str) -> Result<InterfaceText, Problem> {
        let (id, interface) = self.find(name)?;
        Ok(self.describe(id, interface))
    }

    /// A function, such as `settings.get` or `hyper:settings/settings@1.0.0.get`.
    pub fn function(&self, name: &str) -> Result<Function, Problem> {
        // Versions have dots too: a function is what follows the last.
        let (interface, function) = name
            .rsplit_once('.')
            .ok_or_else(|| Problem::Form(name.into()))?;
        let (id, interface) = self.find(interface)?;
        let functions = &self.resolve.interfaces[interface].functions;
        let found = functions.get(function).ok_or_else(|| {
            let names: Vec<&str> = functions.keys().map(String::as_str).collect();
            let near = near(function, &names);
            let near = if near.is_empty() {
                names.iter().map(ToString::to_string).collect()
            } else {
                near
            };
            Problem::Function {
                interface: id.into(),
                name: function.into(),
                near,
            }
        })?;
        self.callable(id, found)
            .map_err(|reason| Problem::Definition(format!("{id}.{function}: {reason}")))
    }

    fn find(&self, name: &str) -> Result<(&str, InterfaceId), Problem> {
        let fits = |id: &str| id == name || unversioned(id) == name || short(id) == name;
        if let Some((id, interface)) = self.interfaces.iter().find(|(id, _)| fits(id)) {
            return Ok((id, *interface));
        }
        let names: Vec<&str> = self.interfaces.iter().map(|(id, _)| short(id)).collect();
        Err(Problem::Interface {
            name: name.into(),
            near: near(short(name), &names),
        })
    }

    fn describe(&self, id: &str, interface: InterfaceId) -> InterfaceText {
        let definition = &self.resolve.interfaces[interface];
        let name = definition.name.as_deref().unwrap_or_default();
        InterfaceText {
            id: id.into(),
            summary: crate::purpose(id).unwrap_or_default().to_owned(),
            functions: definition
                .functions
                .values()
                .map(|function| self.signature(function))
                .collect(),
            text: crate::WIT
                .iter()
                .find_map(|(_, text)| block(text, name, unversioned(id)))
                .unwrap_or_default(),
        }
    }

    fn signature(&self, function: &WitFunction) -> String {
        let parameters: Vec<_> = function
            .params
            .iter()
            .map(|parameter| {
                format!(
                    "{}: {}",
                    parameter.name,
                    types::name(&self.resolve, &parameter.ty)
                )
            })
            .collect();
        let answer = function.result.map_or(String::new(), |ty| {
            format!(" -> {}", types::name(&self.resolve, &ty))
        });
        format!("{}: func({}){answer}", function.name, parameters.join(", "))
    }

    fn callable(&self, interface: &str, function: &WitFunction) -> Result<Function, String> {
        let mut parameters = Vec::new();
        for parameter in &function.params {
            parameters.push(Parameter {
                name: parameter.name.clone(),
                written: types::name(&self.resolve, &parameter.ty),
                kind: types::wave(&self.resolve, &parameter.ty)?,
            });
        }
        let stream = |ty: WitType| match ty {
            WitType::Id(id) => match self.resolve.types[id].kind {
                TypeDefKind::Stream(item) => item,
                _ => None,
            },
            _ => None,
        };
        let returns = match function.result {
            None => Returns::Nothing,
            Some(ty) => match stream(ty) {
                Some(item) => Returns::Stream(types::wave(&self.resolve, &item)?),
                None => Returns::Value(types::wave(&self.resolve, &ty)?),
            },
        };
        Ok(Function {
            interface: interface.into(),
            name: function.name.clone(),
            signature: self.signature(function),
            parameters,
            returns,
        })
    }
}

impl Function {
    /// Its parameters, in order.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// What it answers.
    pub fn returns(&self) -> &Returns {
        &self.returns
    }

    /// Reads its arguments, each a value in WAVE. Where text is wanted, its quotes may be left out.
    pub fn arguments<S: AsRef<str>>(&self, given: &[S]) -> Result<Vec<Value>, Problem> {
        if given.len() != self.parameters.len() {
            return Err(Problem::Count {
                signature: format!("{}.{}", self.interface, self.signature),
                takes: self.parameters.len(),
                given: given.len(),
            });
        }
        let read = |(parameter, given): (&Parameter, &S)| {
            let given = given.as_ref();
            if parameter.kind.kind() == WasmTypeKind::String && !given.starts_with('"') {
                use wasm_wave::wasm::WasmValue as _;
                return Ok(Value::make_string(given.into()));
            }
            // A comment that ends with its two slashes makes wasm-wave 0.263 panic; what ends a line is passed over.
            let line = format!("{given}\n");
            wasm_wave::from_str(&parameter.kind, &line).map_err(|error| Problem::Argument {
                function: format!("{}.{}", self.interface, self.name),
                name: parameter.name.clone(),
                written: parameter.written.clone(),
                given: given.into(),
                reason: error.to_string(),
            })
        };
        self.parameters.iter().zip(given).map(read).collect()
    }
}

/// `hyper:settings/settings` of `hyper:settings/settings@1.0.0`.
fn unversioned(id: &str) -> &str {
    id.split_once('@').map_or(id, |(name, _)| name)
}

/// `settings` of `hyper:settings/settings@1.0.0`.
fn short(id: &str) -> &str {
    let name = unversioned(id);
    name.rsplit_once('/').map_or(name, |(_, name)| name)
}

/// The definition of an interface in the text of its package, with its documentation.
fn block(text: &str, name: &str, id: &str) -> Option<String> {
    let package = id.split_once('/')?.0;
    text.lines()
        .find(|line| line.starts_with(&format!("package {package}@")))?;
    let lines: Vec<&str> = text.lines().collect();
    let opening = lines
        .iter()
        .position(|line| *line == format!("interface {name} {{"))?;
    let start = lines[..opening]
        .iter()
        .rposition(|line| !line.starts_with("///"))
        .map_or(0, |before| before + 1);
    let end = opening + lines[opening..].iter().position(|line| *line == "}")?;
    Some(lines[start..=end].join("\n"))
}

/// The names that a person may have meant, nearest first.
fn near(name: &str, names: &[&str]) -> Vec<String> {
    let mut near: Vec<(usize, &str)> = names
        .iter()
        .map(|other| (distance(name, other), *other))
        .filter(|(distance, other)| {
            *distance <= 1 + other.len().max(name.len()) / 3
                || (name.len() > 1 && other.contains(name))
        })
        .collect();
    near.sort();
    near.truncate(3);
    near.into_iter().map(|(_, name)| name.to_owned()).collect()
}

/// How many characters must be put in, taken out or changed (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, a) in a.chars().take(64).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in b.iter().enumerate() {
            let change = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = change.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_function_of_every_interface_can_be_called() {
        let api = Api::new().unwrap();
        for interface in api.interfaces() {
            assert!(
                interface
                    .text
                    .contains(&format!("interface {} {{", short(&interface.id))),
                "{}",
                interface.id
            );
            assert!(
                !interface.summary.is_empty(),
                "{} says what it is for",
                interface.id
            );
            for function in &interface.functions {
                let name = function.split_once(':').unwrap().0;
                api.function(&format!("{}.{name}", interface.id)).unwrap();
            }
        }
    }

    #[test]
    fn an_interface_is_found_by_any_of_its_names() {
        let api = Api::new().unwrap();
        for name in [
            "settings",
            "hyper:settings/settings",
            "hyper:settings/settings@1.0.0",
        ] {
            assert_eq!(
                api.interface(name).unwrap().id,
                "hyper:settings/settings@1.0.0"
            );
            assert_eq!(api.function(&format!("{name}.get")).unwrap().name, "get");
        }
    }

    #[test]
    fn a_mistake_is_named_with_what_was_meant() {
        let api = Api::new().unwrap();
        let says = |name: &str| api.function(name).unwrap_err().to_string();
        assert_eq!(
            says("setings.get"),
            "there is no interface setings; did you mean settings?"
        );
        assert_eq!(
            says("settings.got"),
            "hyper:settings/settings@1.0.0 has no function got; did you mean get, set?"
        );
        assert!(says("settings").contains("interface.function"));

        let set = api.function("settings.set").unwrap();
        set.arguments(&["appearance.accent", r#"text("ember") //"#])
            .unwrap();
        let none: [&str; 0] = [];
        assert!(
            set.arguments(&none)
                .unwrap_err()
                .to_string()
                .contains("takes 2 arguments, 0 given")
        );
        let error = set
            .arguments(&["appearance.accent", "blue"])
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with(
                "hyper:settings/settings@1.0.0.set: argument value: `blue` is not a value: "
            ),
            "{error}"
        );
        set.arguments(&["appearance.accent", "text(\"blue\")"])
            .unwrap();
    }
}
