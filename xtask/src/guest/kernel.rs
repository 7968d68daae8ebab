//! Debian's kernels: the image and the modules, unpacked from the package and not installed.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

use super::{STAGE, directory};
use crate::{say, setup::Apt};

/// A kernel on this machine's disk.
pub struct Kernel {
    pub image: PathBuf,
    /// A directory with all of its modules, packed or (up to Linux 6.1) not, and nothing else.
    pub modules: PathBuf,
}

/// The newest kernel of a series such as `6.12`: one that is there from an earlier run, else Debian's newest package. It is not
/// installed.
pub fn get(series: &str, apt: &mut Apt) -> Result<Kernel> {
    let what = format!("Debian's Linux {series}");
    if let Some(there) = there(series)? {
        say::step(STAGE, &what, format_args!("ok ({})", name_of(&there.image)));
        return Ok(there);
    }
    let package = newest(apt.search(&pattern(series))).with_context(|| {
        format!("{what} is not in this machine's package sources: add Debian's backports or security updates, or name another kernel")
    })?;
    let directory = directory()?;
    let deb = apt.download(&what, &package, &directory)?;
    let unpacked = unpack(&deb, package.trim_start_matches("linux-image-"), &directory);
    fs::remove_file(&deb).with_context(|| format!("remove {}", deb.display()))?;
    unpacked
}

/// The newest one that is there from an earlier run.
pub fn there(series: &str) -> Result<Option<Kernel>> {
    let directory = directory()?;
    let prefix = format!("{IMAGE}{series}.");
    let images = names(&directory)?.into_iter();
    // An image is put there last.
    let whole = images.filter(|name| {
        name.strip_prefix(&prefix)
            .is_some_and(|rest| !rest.ends_with(PART))
    });
    Ok(newest(whole).map(|name| Kernel::of(&directory, name.trim_start_matches(IMAGE))))
}

/// What the names of Debian's packages are like.
fn pattern(series: &str) -> String {
    format!(r"^linux-image-{}\..*-cloud-amd64$", series.replace('.', r"\."))
}

const IMAGE: &str = "vmlinuz-";

/// What a file is called until it is whole.
const PART: &str = ".part";

impl Kernel {
    fn of(directory: &Path, release: &str) -> Self {
        Self {
            image: directory.join(format!("{IMAGE}{release}")),
            modules: directory.join(format!("modules-{release}")),
        }
    }
}

fn unpack(deb: &Path, release: &str, directory: &Path) -> Result<Kernel> {
    let kernel = Kernel::of(directory, release);
    fs::create_dir_all(&kernel.modules).with_context(|| format!("make {}", kernel.modules.display()))?;
    let mut modules = Command::new("tar");
    modules.args(["-x", "--wildcards", "--transform", "s,.*/,,", "-C"]);
    extract(deb, modules.arg(&kernel.modules).arg("*.ko*"))?;
    let part = directory.join(format!("{IMAGE}{release}{PART}"));
    let file = File::create(&part).with_context(|| format!("write {}", part.display()))?;
    let mut image = Command::new("tar");
    image.args(["-x", "--to-stdout", &format!("./boot/{IMAGE}{release}")]);
    extract(deb, image.stdout(file))?;
    fs::rename(&part, &kernel.image).with_context(|| format!("move {}", part.display()))?;
    Ok(kernel)
}

/// Gives the files of a package to a `tar`.
fn extract(deb: &Path, tar: &mut Command) -> Result<()> {
    let mut package = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(deb)
        .stdout(Stdio::piped())
        .spawn()
        .context("run dpkg-deb")?;
    let archive = package.stdout.take().context("read from dpkg-deb")?;
    let unpacked = tar.stdin(archive).status();
    let read = package.wait().context("wait for dpkg-deb")?;
    let unpacked = unpacked.context("run tar")?;
    ensure!(
        read.success() && unpacked.success(),
        "{}: no kernel with modules in it",
        deb.display()
    );
    Ok(())
}

fn name_of(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

fn names(directory: &Path) -> Result<Vec<String>> {
    let read = || {
        fs::read_dir(directory)?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect::<std::io::Result<_>>()
    };
    read().with_context(|| format!("list {}", directory.display()))
}

/// The name with the highest numbers.
fn newest(names: impl IntoIterator<Item = String>) -> Option<String> {
    names.into_iter().max_by_key(|name| numbers(name))
}

fn numbers(name: &str) -> Vec<u64> {
    name.split(|c: char| !c.is_ascii_digit())
        .filter_map(|number| number.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_kernel_has_the_highest_numbers() {
        let names = [
            "linux-image-6.12.9+deb12-cloud-amd64",
            "linux-image-6.12.117+deb12-cloud-amd64",
            "linux-image-6.12.100+deb12-cloud-amd64",
        ];
        assert_eq!(newest(names.map(str::to_owned)).as_deref(), Some(names[1]));
        let names = [
            "linux-image-6.1.0-9-cloud-amd64",
            "linux-image-6.1.0-56-cloud-amd64",
        ];
        assert_eq!(newest(names.map(str::to_owned)).as_deref(), Some(names[1]));
        assert_eq!(newest([]), None);
    }
}
