//! Expands and checks the shaders, and emits their sources and the layout of their structs as Rust.
//!
//! A line `//#import shared/NAME` is replaced by `shaders/shared/NAME.wgsl`. A shader that does not parse or validate is a build
//! error with the file and line it was written in. Each struct of the files in `STRUCTS` is compared
//! with the Rust struct of the same name: size, and every field's name, offset and type.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, process};

use naga::valid::{Capabilities, ValidationFlags, Validator};
use naga::{Module, ScalarKind, TypeInner};

/// Files of `shaders/shared` whose structs Rust shares, and the modules that these are compared with.
const STRUCTS: [(&str, &str); 5] =
    [("params", "program"), ("frame", "frame"), ("fused", "fused"), ("lane_params", "lanes"), ("onward", "sweep")];

const IMPORT: &str = "//#import ";

fn main() {
    let root = Path::new(&env::var("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("../../shaders");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={}", root.display());
    let output = match emit(&root) {
        Ok(output) => output,
        Err(message) => {
            println!("cargo::error={message}");
            eprintln!("{message}");
            process::exit(1);
        }
    };
    let path = Path::new(&env::var("OUT_DIR").expect("cargo sets it")).join("shaders.rs");
    fs::write(&path, output).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

/// The generated Rust.
fn emit(root: &Path) -> Result<String, String> {
    let mut output = String::new();
    let mut table = String::new();
    let mut structs = BTreeMap::new();
    for path in shaders(root)? {
        println!("cargo::rerun-if-changed={}", path.display());
        let source = Expanded::read(root, &path)?;
        let module = source.check()?;
        let stem = path.file_stem().expect("it ends in .wgsl").to_string_lossy().into_owned();
        let name = stem.to_uppercase();
        writeln!(output, "/// `{}`, expanded.\npub const {name}: &str = {:?};", source.name, source.text)
            .expect("to a string");
        writeln!(table, "    ({stem:?}, {name}),").expect("to a string");
        check_nested(&module).map_err(|message| format!("shaders/{}: {message}", source.name))?;
        structs.extend(layouts(&module));
    }
    for (name, path) in STRUCTS {
        for declared in declared_structs(&root.join("shared").join(name).with_extension("wgsl"))? {
            let layout =
                structs.get(&declared).ok_or(format!("shared/{name}.wgsl: no shader uses struct {declared}"))?;
            output.push_str(&assertion(&format!("{path}::{declared}"), layout));
        }
    }
    writeln!(output, "/// Every shader by its stem.\n#[cfg(test)]\npub const ALL: &[(&str, &str)] = &[\n{table}];")
        .expect("to a string");
    Ok(output)
}

/// Every shader with entry points: all but `shared/`, in a fixed order.
fn shaders(root: &Path) -> Result<Vec<PathBuf>, String> {
    let mut found = Vec::new();
    for folder in list(root)? {
        if folder.is_dir() && !folder.ends_with("shared") {
            found.extend(list(&folder)?.into_iter().filter(|path| path.extension().is_some_and(|e| e == "wgsl")));
        }
    }
    Ok(found)
}

fn list(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut paths: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    Ok(paths)
}

/// A shader with its imports in place, and where each of its lines was written.
struct Expanded {
    name: String,
    text: String,
    origins: Vec<(String, usize)>,
}

impl Expanded {
    fn read(root: &Path, path: &Path) -> Result<Self, String> {
        let mut expanded = Self { name: name_of(root, path), text: String::new(), origins: Vec::new() };
        expanded.append(root, path, &mut Vec::new())?;
        Ok(expanded)
    }

    fn append(&mut self, root: &Path, path: &Path, imported: &mut Vec<String>) -> Result<(), String> {
        let name = name_of(root, path);
        let text = fs::read_to_string(path).map_err(|error| format!("{name}: {error}"))?;
        for (number, line) in text.lines().enumerate() {
            let Some(import) = line.strip_prefix(IMPORT) else {
                self.text.push_str(line);
                self.text.push('\n');
                self.origins.push((name.clone(), number + 1));
                continue;
            };
            let import = import.trim().to_owned();
            if imported.contains(&import) {
                continue;
            }
            let file = root.join(&import).with_extension("wgsl");
            if !import.starts_with("shared/") || !file.is_file() {
                return Err(format!("{name}:{}: no such import: {import}", number + 1));
            }
            imported.push(import);
            self.append(root, &file, imported)?;
        }
        Ok(())
    }

    fn check(&self) -> Result<Module, String> {
        let module = naga::front::wgsl::parse_str(&self.text)
            .map_err(|error| self.complain(error.location(&self.text), &error.emit_to_string(&self.text)))?;
        // No capabilities: what every WebGPU device can do.
        Validator::new(ValidationFlags::all(), Capabilities::empty())
            .validate(&module)
            .map_err(|error| self.complain(error.location(&self.text), &error.emit_to_string(&self.text)))?;
        Ok(module)
    }

    fn complain(&self, place: Option<naga::SourceLocation>, message: &str) -> String {
        let origin = place.and_then(|place| self.origins.get(place.line_number as usize - 1));
        let place = origin.map_or(self.name.clone(), |(file, line)| format!("{file}:{line}"));
        format!("shaders/{place}: {}", message.trim().replace('\n', "\n    "))
    }
}

fn name_of(root: &Path, path: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).to_string_lossy().replace('\\', "/")
}

/// The size of a struct, and name, offset and Rust type of its members.
struct Layout {
    size: u32,
    members: Vec<(String, u32, &'static str)>,
}

fn layouts(module: &Module) -> Vec<(String, Layout)> {
    let structs = module.types.iter().filter_map(|(_, ty)| match (&ty.name, &ty.inner) {
        (Some(name), TypeInner::Struct { members, span }) => Some((name, members, *span)),
        _ => None,
    });
    let layout = structs.map(|(name, members, size)| {
        let members = members.iter().map(|member| {
            // A trailing underscore avoids a word that WGSL reserves.
            let name = member.name.as_deref().unwrap_or_default().trim_end_matches('_').to_owned();
            (name, member.offset, rust_type(&module.types[member.ty].inner))
        });
        (name.clone(), Layout { size, members: members.collect() })
    });
    layout.collect()
}

/// Parameters in several structs are uploaded one behind the other: they must lie so.
fn check_nested(module: &Module) -> Result<(), String> {
    for (_, ty) in module.types.iter() {
        let TypeInner::Struct { members, .. } = &ty.inner else { continue };
        let mut end = 0;
        for member in members {
            if let TypeInner::Struct { span, .. } = module.types[member.ty].inner {
                if member.offset != end {
                    return Err(format!("{:?} starts at {} instead of {end}", member.name, member.offset));
                }
                end += span;
            }
        }
    }
    Ok(())
}

fn rust_type(inner: &TypeInner) -> &'static str {
    match inner {
        TypeInner::Scalar(scalar) if scalar.kind == ScalarKind::Uint => "u32",
        TypeInner::Scalar(scalar) if scalar.kind == ScalarKind::Float => "f32",
        TypeInner::Vector { size: naga::VectorSize::Quad, scalar } if scalar.kind == ScalarKind::Float => "[f32; 4]",
        // Compared on its own.
        TypeInner::Struct { .. } => "",
        _ => "()",
    }
}

/// The structs that a file declares.
fn declared_structs(path: &Path) -> Result<Vec<String>, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let names = text.lines().filter_map(|line| line.strip_prefix("struct ")?.strip_suffix(" {"));
    Ok(names.map(str::to_owned).collect())
}

/// Fails to compile unless the Rust struct has exactly these fields at these offsets.
fn assertion(path: &str, layout: &Layout) -> String {
    let mut output = String::from("const _: () = {\n");
    let mut fields = Vec::new();
    writeln!(output, "    assert!(size_of::<{path}>() == {}, \"{path}: size\");", layout.size).expect("to a string");
    for (name, offset, ty) in &layout.members {
        // `padding`, `padding_0`, … stand for one field.
        let is_padding = name.starts_with("padding");
        let field = if is_padding { "padding" } else { name };
        if fields.contains(&field) {
            continue;
        }
        fields.push(field);
        writeln!(
            output,
            "    assert!(std::mem::offset_of!({path}, {field}) == {offset}, \"{path}::{field}: offset\");"
        )
        .expect("to a string");
        if !is_padding && !ty.is_empty() {
            writeln!(output, "    let _: fn(&{path}) -> &{ty} = |params| &params.{field};").expect("to a string");
        }
    }
    // Without `..`: a field that the shader lacks is an error as well.
    let pattern: Vec<_> = fields.iter().map(|field| format!("{field}: _")).collect();
    writeln!(output, "    let _: fn({path}) = |{path} {{ {} }}| {{}};\n}};", pattern.join(", ")).expect("to a string");
    output
}
