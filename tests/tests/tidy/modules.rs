//! The modules of a crate, and which imports which.

use std::collections::BTreeMap;

use crate::{
    dependencies::names,
    source::{Source, line_of},
    tokens::{Named, Token, read_path, tokens},
    tree::File,
};

/// By pairs of modules beside each other, the lines (file and number) where the first names the second.
pub type Edges<'a> = BTreeMap<(String, String), Vec<(&'a str, usize)>>;

/// A file as a module of its crate.
struct Module<'a> {
    /// The folder of the crate's root, for example `server/src`.
    krate: &'a str,
    /// Its path below the root; empty for the root.
    path: Vec<&'a str>,
    source: &'a Source<'a>,
}

/// What stands in a file's code: paths from the root of the crate, with their positions.
struct Use<'a> {
    path: Vec<&'a str>,
    at: usize,
}

/// The edges between what stands directly in each folder of each crate; folders without any edge are there too.
pub fn folders<'a>(sources: &'a [Source<'a>]) -> BTreeMap<String, Edges<'a>> {
    let modules: Vec<_> = sources.iter().filter(|source| source.is_shipped).filter_map(module).collect();
    let faces = faces(&modules);
    let mut folders = BTreeMap::new();
    for module in &modules {
        for depth in 0..module.path.len() {
            let folder = [&[module.krate], &module.path[..depth]].concat().join("/");
            let edges: &mut Edges<'_> = folders.entry(folder).or_default();
            for used in uses(module) {
                let from = module.path[depth];
                let is_inside = used.path.len() > depth && used.path[..depth] == module.path[..depth];
                let Some(to) = is_inside.then(|| child(module, &used.path[..=depth], &faces)).flatten()
                else {
                    continue;
                };
                if from != to {
                    let line = (module.source.path, line_of(module.source.text, used.at));
                    edges.entry((from.to_owned(), to.to_owned())).or_default().push(line);
                }
            }
        }
    }
    folders
}

/// The edges between crates of the workspace, which their manifests ask for; tests may use any.
pub fn crates(files: &[File]) -> Edges<'_> {
    let mut edges = Edges::new();
    for manifest in files {
        let Some(name) = manifest.path.strip_suffix("/Cargo.toml") else { continue };
        for (line, dependency) in names(&manifest.text, "dependencies") {
            let to =
                if dependency == "posthouse" { Some("cli") } else { dependency.strip_prefix("posthouse-") };
            if let Some(to) = to {
                edges.entry((name.to_owned(), to.to_owned())).or_default().push((&manifest.path, line));
            }
        }
    }
    edges
}

/// A file as a module; `None` for build scripts and the like.
fn module<'a>(source: &'a Source<'a>) -> Option<Module<'a>> {
    let end = source.path.find("/src/")? + "/src".len();
    let (krate, rest) = (&source.path[..end], &source.path[end + 1..]);
    let mut path: Vec<_> = rest.trim_end_matches(".rs").split('/').collect();
    if ["lib", "main", "mod"].contains(path.last()?) {
        path.pop();
    }
    Some(Module { krate, path, source })
}

/// For each module that has others in it: what its names stand for, by the name of the inner module.
type Faces<'a> = BTreeMap<(&'a str, Vec<&'a str>), BTreeMap<&'a str, &'a str>>;

fn faces<'a>(modules: &[Module<'a>]) -> Faces<'a> {
    let mut faces = Faces::new();
    for module in modules {
        if let Some((last, outer)) = module.path.split_last() {
            faces.entry((module.krate, outer.to_vec())).or_default().insert(last, last);
        }
    }
    for module in modules {
        let Some(face) = faces.get_mut(&(module.krate, module.path.clone())) else { continue };
        let depth = module.path.len();
        for named in imports(&module.source.shipped) {
            let path = match named.path[..] {
                ["crate" | "self" | "super", ..] => absolute(&named.path, &module.path),
                _ => [module.path.clone(), named.path.clone()].concat(),
            };
            let inner = path.get(depth).filter(|_| path[..depth] == module.path[..]);
            // An inner module may also be named `a::b` where it is imported; names win over nothing but themselves.
            if let Some(inner) = inner.and_then(|inner| face.get(inner)).copied() {
                face.entry(named.name).or_insert(inner);
            }
        }
    }
    faces
}

/// The module, beside those of the same path, that a path leads to: by its own name or by one that the folder
/// re-exports.
fn child<'a>(module: &Module<'a>, path: &[&'a str], faces: &Faces<'a>) -> Option<&'a str> {
    let (name, outer) = path.split_last()?;
    faces.get(&(module.krate, outer.to_vec()))?.get(name).copied()
}

/// All trees of `use` in a file.
fn imports(code: &str) -> Vec<Named<'_>> {
    let tokens = tokens(code);
    let mut found = Vec::new();
    for at in (0..tokens.len()).filter(|at| tokens[*at].text == "use") {
        read_path(&tokens, at + 1, &[], &mut found);
    }
    found
}

/// All paths in a file that begin with `crate`, `self` or `super`, from the root of the crate.
fn uses<'a>(module: &Module<'a>) -> Vec<Use<'a>> {
    let tokens = tokens(&module.source.shipped);
    let (mut uses, mut next) = (Vec::new(), 0);
    // The inline modules around the position, each with the depth of braces that ends it.
    let (mut inline, mut depth): (Vec<(&str, usize)>, usize) = (Vec::new(), 0);
    while next < tokens.len() {
        let text = |at: usize| tokens.get(at).map_or("", |token: &Token<'_>| token.text);
        match text(next) {
            "mod" if text(next + 2) == "{" => inline.push((text(next + 1), depth)),
            "{" => depth += 1,
            "}" => {
                depth = depth.saturating_sub(1);
                inline.pop_if(|(_, end)| *end == depth);
            }
            "crate" | "self" | "super" if text(next + 1) == "::" && !is_within(&tokens[..next]) => {
                let mut found = Vec::new();
                next = read_path(&tokens, next, &[], &mut found);
                let own: Vec<_> =
                    module.path.iter().copied().chain(inline.iter().map(|(name, _)| *name)).collect();
                uses.extend(
                    found.iter().map(|named| Use { path: absolute(&named.path, &own), at: named.at }),
                );
                continue;
            }
            _ => {}
        }
        next += 1;
    }
    uses
}

/// Whether what follows is the path of a `pub(in path)`, or goes on a path that has begun.
fn is_within(before: &[Token<'_>]) -> bool {
    before.last().is_some_and(|token| ["in", "::"].contains(&token.text))
}

/// A path from the root of the crate.
fn absolute<'a>(path: &[&'a str], own: &[&'a str]) -> Vec<&'a str> {
    let mut absolute = own.to_vec();
    for (at, word) in path.iter().enumerate() {
        match *word {
            "crate" if at == 0 => absolute.clear(),
            "self" if at == 0 => {}
            "super" => drop(absolute.pop()),
            word => absolute.push(word),
        }
    }
    absolute
}
