//! The file system that a guest starts with: a program as its first process, others that it runs, and the libraries that they take.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::process;

/// A file or directory of an archive.
struct Entry<'a> {
    path: &'a str,
    mode: u32,
    content: &'a [u8],
}

const DIRECTORY: u32 = 0o040_755;
const EXECUTABLE: u32 = 0o100_755;

/// What a guest is given.
pub struct Contents<'a> {
    /// Its first process, `/init`.
    pub init: &'a Path,
    /// Programs that it runs, which are in `/bin` there.
    pub programs: Vec<PathBuf>,
    /// Other files, by their paths there, without the slash at the front.
    pub files: Vec<(String, Vec<u8>)>,
}

/// An initramfs with these, and with the libraries that the programs take.
pub fn of(contents: Contents<'_>) -> Result<Vec<u8>> {
    let mut files = contents.files;
    add_program(&mut files, contents.init, "init".to_owned())?;
    for program in &contents.programs {
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        add_program(&mut files, program, format!("bin/{name}"))?;
    }
    let mut directories: Vec<&str> = files.iter().flat_map(|(path, _)| parents(path)).collect();
    directories.sort_unstable();
    directories.dedup();
    let directories = directories.into_iter().map(|path| Entry {
        path,
        mode: DIRECTORY,
        content: &[],
    });
    let files = files.iter().map(|(path, content)| Entry {
        path,
        mode: EXECUTABLE,
        content,
    });
    archive(directories.chain(files))
}

fn add_program(files: &mut Vec<(String, Vec<u8>)>, program: &Path, to: String) -> Result<()> {
    let read = |path: &Path| fs::read(path).with_context(|| format!("read {}", path.display()));
    let listed = process::output(Command::new("ldd").arg(program))
        .with_context(|| format!("ldd cannot read {}", program.display()))?;
    files.push((to, read(program)?));
    for library in libraries(&listed) {
        let to = library.trim_start_matches('/');
        if !files.iter().any(|(path, _)| path == to) {
            files.push((to.to_owned(), read(Path::new(library))?));
        }
    }
    Ok(())
}

/// The paths in what `ldd` prints: `libc.so.6 => /lib/libc.so.6 (0x7)` and `/lib64/ld-linux-x86-64.so.2 (0x7)`.
fn libraries(ldd: &str) -> Vec<&str> {
    ldd.lines()
        .filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')))
        .collect()
}

/// The directories above a path, from the top on.
fn parents(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(at, _)| &path[..at])
}

/// A cpio archive in the "new ASCII" format (Documentation/driver-api/early-userspace/buffer-format.rst).
fn archive<'a>(entries: impl Iterator<Item = Entry<'a>>) -> Result<Vec<u8>> {
    let mut archive = Vec::new();
    for (number, entry) in (1..).zip(entries) {
        append(&mut archive, number, &entry)?;
    }
    let trailer = Entry {
        path: "TRAILER!!!",
        mode: 0,
        content: &[],
    };
    append(&mut archive, 0, &trailer)?;
    Ok(archive)
}

fn append(archive: &mut Vec<u8>, number: u32, entry: &Entry<'_>) -> Result<()> {
    let links = if entry.mode == DIRECTORY { 2 } else { 1 };
    let size = u32::try_from(entry.content.len()).with_context(|| format!("{} is too large", entry.path))?;
    let name_size = u32::try_from(entry.path.len() + 1).context("a path is too long")?;
    // Inode, mode, owner and group, links, time, size, the device's and the node's numbers, size of the name, checksum.
    let fields = [number, entry.mode, 0, 0, links, 0, size, 0, 0, 0, 0, name_size, 0];
    archive.extend_from_slice(b"070701");
    for field in fields {
        archive.extend_from_slice(format!("{field:08X}").as_bytes());
    }
    archive.extend_from_slice(entry.path.as_bytes());
    archive.push(0);
    align(archive);
    archive.extend_from_slice(entry.content);
    align(archive);
    Ok(())
}

/// Each part begins at a multiple of four.
fn align(archive: &mut Vec<u8>) {
    archive.resize(archive.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_the_paths_that_ldd_names() {
        let ldd = "\tlinux-vdso.so.1 (0x00007ffd)\n\
                   \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f5a)\n\
                   \t/lib64/ld-linux-x86-64.so.2 (0x00007f5b)\n";
        assert_eq!(
            libraries(ldd),
            ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"]
        );
        assert!(libraries("\tstatically linked\n").is_empty());
    }

    #[test]
    fn directories_come_from_the_top_on() {
        let all: Vec<_> = parents("lib/x86_64-linux-gnu/libc.so.6").collect();
        assert_eq!(all, ["lib", "lib/x86_64-linux-gnu"]);
        assert_eq!(parents("init").count(), 0);
    }

    #[test]
    fn an_archive_s_parts_are_aligned_and_it_ends_with_the_trailer() {
        let entry = Entry {
            path: "init",
            mode: EXECUTABLE,
            content: b"#!",
        };
        let archive = archive([entry].into_iter()).unwrap();
        assert!(archive.starts_with(b"07070100000001000081ED"));
        // A header of 110 bytes, and a name of five with its end.
        assert_eq!(&archive[110..120], b"init\0\0#!\0\0");
        assert!(archive[120..].starts_with(b"070701"));
        assert_eq!(archive.len() % 4, 0);
        assert!(archive.ends_with(b"TRAILER!!!\0\0\0\0"));
    }
}
