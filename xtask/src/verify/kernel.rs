//! Debian's kernels: the image alone, of which all that loading takes is part.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

use super::{STAGE, directory};
use crate::{say, setup::Apt};

/// The newest image of a series such as `6.12`: one that is there from an earlier run, else Debian's newest package.
pub fn image(series: &str, apt: &mut Apt) -> Result<PathBuf> {
    let directory = directory()?;
    let prefix = format!("vmlinuz-{series}.");
    let there = names(&directory)?.into_iter().filter(|name| {
        let rest = name.strip_prefix(&prefix);
        rest.is_some_and(|rest| !rest.ends_with(PART))
    });
    if let Some(name) = newest(there) {
        say::step(
            STAGE,
            &format!("Debian's Linux {series}"),
            format_args!("ok ({name})"),
        );
        return Ok(directory.join(name));
    }
    download(series, &directory, apt)
}

/// What a file is called until it is whole.
const PART: &str = ".part";

fn download(series: &str, directory: &Path, apt: &mut Apt) -> Result<PathBuf> {
    let what = format!("Debian's Linux {series}");
    let pattern = format!(r"^linux-image-{}\..*-cloud-amd64$", series.replace('.', r"\."));
    let package = newest(apt.search(&pattern)).with_context(|| {
        format!("{what} is not in this machine's package sources: add Debian's backports or security updates, or name another --kernel")
    })?;
    let deb = apt.download(&what, &package, directory)?;
    let release = package.trim_start_matches("linux-image-");
    let image = directory.join(format!("vmlinuz-{release}"));
    let part = directory.join(format!("vmlinuz-{release}{PART}"));
    let unpacked = unpack(&deb, &format!("./boot/vmlinuz-{release}"), &part);
    fs::remove_file(&deb).with_context(|| format!("remove {}", deb.display()))?;
    unpacked?;
    fs::rename(&part, &image).with_context(|| format!("move {}", part.display()))?;
    Ok(image)
}

/// Writes one file of a package.
fn unpack(deb: &Path, name: &str, to: &Path) -> Result<()> {
    let mut package = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(deb)
        .stdout(Stdio::piped())
        .spawn()
        .context("run dpkg-deb")?;
    let archive = package.stdout.take().context("read from dpkg-deb")?;
    let file = File::create(to).with_context(|| format!("write {}", to.display()))?;
    let unpacked = Command::new("tar")
        .args(["-x", "--to-stdout", name])
        .stdin(archive)
        .stdout(file)
        .status();
    let read = package.wait().context("wait for dpkg-deb")?;
    let unpacked = unpacked.context("run tar")?;
    ensure!(
        read.success() && unpacked.success(),
        "{}: no {name} in it",
        deb.display()
    );
    Ok(())
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
