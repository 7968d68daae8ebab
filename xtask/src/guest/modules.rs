//! Modules of a kernel, in the order in which they load.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

/// What the names of Debian's modules end with.
const PACKED: &str = ".ko.xz";

/// A module as the kernel takes it.
pub struct Module {
    pub name: String,
    pub content: Vec<u8>,
}

/// These modules of the directory and all that they need, each behind what it needs.
pub fn ordered(directory: &Path, names: &[&str]) -> Result<Vec<Module>> {
    let mut modules = Vec::new();
    for name in names {
        add(directory, name, &mut modules)?;
    }
    Ok(modules)
}

/// Dependencies of modules have no circles: the kernel could not load them.
fn add(directory: &Path, name: &str, modules: &mut Vec<Module>) -> Result<()> {
    if modules.iter().any(|module| module.name == name) {
        return Ok(());
    }
    let path = find(directory, name)?;
    let content = unpacked(&path)?;
    for needed in needs(&content) {
        add(directory, &needed, modules)?;
    }
    modules.push(Module {
        name: name.to_owned(),
        content,
    });
    Ok(())
}

/// Names of files may have hyphens where those of modules have underscores.
fn find(directory: &Path, name: &str) -> Result<PathBuf> {
    let files = fs::read_dir(directory).with_context(|| format!("list {}", directory.display()))?;
    let mut paths = files.flatten().map(|file| file.path());
    let is_it = |path: &PathBuf| {
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        file.strip_suffix(PACKED)
            .is_some_and(|stem| stem.replace('-', "_") == name)
    };
    paths
        .find(is_it)
        .with_context(|| format!("{} has no module {name}", directory.display()))
}

fn unpacked(path: &Path) -> Result<Vec<u8>> {
    let output = Command::new("xz")
        .args(["--decompress", "--stdout"])
        .arg(path)
        .stdin(Stdio::null())
        .output()
        .context("run xz")?;
    ensure!(
        output.status.success(),
        "unpack {}: {}",
        path.display(),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(output.stdout)
}

/// What a module says that it needs: `depends=a,b` among the strings of its `.modinfo`, each of which ends with a zero.
fn needs(module: &[u8]) -> Vec<String> {
    let mut strings = module.split(|&byte| byte == 0);
    let depends = strings.find_map(|string| string.strip_prefix(b"depends="));
    let depends = String::from_utf8_lossy(depends.unwrap_or_default()).into_owned();
    let names = depends.split(',').filter(|name| !name.is_empty());
    names.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_names_what_it_needs() {
        let module = b"\x7fELF\0license=GPL\0depends=nf_conntrack,libcrc32c\0intree=Y\0";
        assert_eq!(needs(module), ["nf_conntrack", "libcrc32c"]);
        assert!(needs(b"\x7fELF\0depends=\0").is_empty());
        assert!(needs(b"\x7fELF").is_empty());
    }
}
