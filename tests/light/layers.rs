//! The imports of each crate's modules run one way; between crates the compiler sees to it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::root;

/// By module of a crate, those that its files name, and in which file.
type Imports = BTreeMap<String, BTreeMap<String, String>>;

/// Everything in front of the file's unit tests, without comments.
fn code(text: &str) -> String {
    let is_tests = |after: &str| {
        let line = after.lines().find(|line| !line.trim().is_empty() && !line.starts_with("#["));
        line.is_some_and(|line| line.contains("mod ") && line.ends_with('{'))
    };
    let tests = "#[cfg(test)]";
    let end = text.match_indices(tests).find(|(i, _)| is_tests(&text[i + tests.len()..]));
    let code = &text[..end.map_or(text.len(), |(i, _)| i)];
    code.lines().map(|line| line.split("//").next().unwrap()).collect::<Vec<_>>().join("\n")
}

/// The modules behind each `crate::`.
fn named(code: &str) -> Vec<String> {
    let word = |text: &str| -> String {
        text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
    };
    let mut names = Vec::new();
    for (i, path) in code.match_indices("crate::") {
        let rest = &code[i + path.len()..];
        if !rest.starts_with('{') {
            names.push(word(rest));
            continue;
        }
        let mut depth = 0;
        for (j, c) in rest.char_indices() {
            depth += i32::from(c == '{') - i32::from(c == '}');
            if depth == 1 && (c == '{' || c == ',') {
                names.push(word(&rest[j + 1..]));
            }
            if depth == 0 {
                break;
            }
        }
    }
    names
}

fn read(folder: &Path, module: Option<&str>, imports: &mut Imports) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
        let module = module.unwrap_or(&stem);
        if path.join("Cargo.toml").exists() {
            continue; // another crate
        } else if path.is_dir() {
            read(&path, Some(module), imports);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let code = code(&fs::read_to_string(&path).unwrap());
            let of_module = imports.entry(module.to_owned()).or_default();
            let file = path.display().to_string();
            of_module.extend(named(&code).into_iter().map(|name| (name, file.clone())));
        }
    }
}

/// The modules that a module leads to.
fn behind<'i>(imports: &'i Imports, module: &'i str) -> BTreeSet<&'i str> {
    let (mut seen, mut next) = (BTreeSet::new(), vec![module]);
    while let Some(module) = next.pop() {
        let names = imports.get(module).into_iter().flat_map(BTreeMap::keys);
        next.extend(names.map(String::as_str).filter(|name| seen.insert(*name)));
    }
    seen
}

/// The imports of the modules that lead back to themselves.
fn circles(imports: &Imports) -> Vec<String> {
    let mut found = Vec::new();
    for (module, names) in imports {
        let leads_back = |name: &str| name != module && behind(imports, name).contains(&**module);
        let back = names.iter().filter(|(name, _)| leads_back(name));
        found.extend(back.map(|(name, file)| format!("{module} imports {name} in {file}")));
    }
    found
}

#[test]
fn no_module_imports_itself_through_others() {
    for crate_folder in ["src/core", "src/stats", "src/torch", "src"] {
        let mut imports = Imports::new();
        read(&root().join(crate_folder), None, &mut imports);
        assert!(imports.len() > 2, "{crate_folder} has modules");
        assert_eq!(circles(&imports), [""; 0], "{crate_folder}");
    }
}

#[test]
fn a_circle_is_found() {
    let text = "use crate::{a::{x, y}, b};\n// crate::c\n#[cfg(test)]\nmod fake;\nfn f() { crate::d::g() }\n\
                #[cfg(test)]\n#[allow(unused)]\nmod tests {\n    use crate::e;\n}\n";
    assert_eq!(named(&code(text)), ["a", "b", "d"]);
    let of = |names: &[&str]| names.iter().map(|n| (n.to_string(), "f.rs".to_owned())).collect();
    let mut imports: Imports = [("a", of(&["b"])), ("b", of(&["c"])), ("c", of(&[]))]
        .map(|(m, i)| (m.to_owned(), i))
        .into();
    assert!(circles(&imports).is_empty());
    imports.insert("c".to_owned(), of(&["a"]));
    assert_eq!(circles(&imports).len(), 3);
}
