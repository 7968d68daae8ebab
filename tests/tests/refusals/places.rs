//! Sockets, pin directories and state directories that cannot be had, or are somebody else's.

use std::{
    fs,
    os::unix::{
        fs::{PermissionsExt as _, symlink},
        net::UnixListener,
    },
    path::PathBuf,
};

use anyhow::{Result, ensure};
use lb_common::LAYOUT_VERSION;
use xlb_tests::{Lab, preflight};

use crate::refused::{Places, Starts, ensure_says};

const GOOD: &str = "[[interface]]\nname = \"eth0\"\n";

#[test]
fn a_socket_that_cannot_be_made_is_told_and_nothing_is_overwritten() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let lab = Lab::new().backends(0).build()?;
    let starts = Starts::new(&lab)?;
    let dir = lab.lb.dir.join("places");
    fs::create_dir(&dir)?;
    let (file, link) = (dir.join("notes"), dir.join("link"));
    fs::write(&file, "precious")?;
    symlink("/nonexistent", &link)?;
    let no_socket = "what has that name is no socket: remove it, or set node.socket to another path";
    let not_there = "cannot be made, set node.socket to a path where it can";
    for (socket, said) in [
        (file.clone(), no_socket),
        (dir.clone(), no_socket),
        (link.clone(), no_socket),
        (file.join("xlb.sock"), not_there),
        ("/proc/xlb/xlb.sock".into(), not_there),
        (
            dir.join("x".repeat(120)),
            "bytes are too long for the path of a socket: use at most 107",
        ),
    ] {
        let places = Places {
            socket,
            ..starts.places.clone()
        };
        starts.refused_at(&places, GOOD, &["socket", said])?;
    }
    ensure!(fs::read(&file)? == b"precious" && fs::read_link(&link).is_ok());

    // What a dead agent left is no obstacle, nor is a directory that has to be made.
    drop(UnixListener::bind(&starts.places.socket)?);
    ensure!(starts.places.socket.exists());
    starts.serves(&starts.places, GOOD)?;
    let socket = lab.lb.dir.join("not/yet/xlb.sock");
    starts.serves(
        &Places {
            socket,
            ..starts.places.clone()
        },
        GOOD,
    )
}

#[test]
fn a_pin_directory_that_is_not_for_pins_is_told_and_left_alone() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let lab = Lab::new().backends(0).build()?;
    let starts = Starts::new(&lab)?;
    let on_disk = lab.lb.dir.join("pins");
    fs::create_dir_all(on_disk.join("v1"))?;
    fs::write(on_disk.join("v1/notes"), "precious")?;
    let pins = lab.pin_dir();
    let (shared, older) = (pins.join("shared"), pins.join("older"));
    fs::create_dir_all(shared.join("theirs"))?;
    fs::create_dir_all(older.join("v0"))?;
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o755))?;
    for (pin_dir, words) in [
        (
            on_disk.clone(),
            [
                "pins: not on a BPF file system: run 'mount -t bpf bpf /sys/fs/bpf'",
                "or name a place on one",
            ],
        ),
        (
            "/nonexistent/xlb".into(),
            ["/nonexistent/xlb: not on a BPF file system", "mount -t bpf"],
        ),
        (
            "/sys/fs/bpf".into(),
            [
                "pin_dir /sys/fs/bpf: the BPF file system itself",
                "name a directory in it, such as /sys/fs/bpf/xlb",
            ],
        ),
        (
            pins.join("xlb.1"),
            [
                "xlb.1: a BPF file system takes no dot in a name",
                "name a directory without one",
            ],
        ),
        (
            shared.clone(),
            [
                "shared/theirs is not xlb's",
                "name a directory for this balancer alone",
            ],
        ),
        (
            older.clone(),
            [
                "older/v0: pins of another version of xlb",
                "'xlb detach --pin-dir",
            ],
        ),
    ] {
        let places = Places {
            pin_dir: pin_dir.clone(),
            ..starts.places.clone()
        };
        starts.refused_at(&places, GOOD, &words)?;
        if pin_dir.exists() && pin_dir != older {
            let told = starts.ask(
                &["detach", "--pin-dir", &pin_dir.display().to_string()],
                &places.socket,
            )?;
            ensure_says(&told, &words)?;
        }
    }
    ensure!(fs::read(on_disk.join("v1/notes"))? == b"precious" && shared.join("theirs").exists());
    ensure!(fs::metadata(&shared)?.permissions().mode() & 0o777 == 0o755);
    // The remedy for pins of another version.
    let told = starts.ask(
        &["detach", "--pin-dir", &older.display().to_string()],
        &starts.places.socket,
    )?;
    ensure!(told.status.success() && !older.exists(), "{told:?}");
    Ok(())
}

#[test]
fn a_pin_that_is_no_map_of_ours_is_told() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let lab = Lab::new().backends(0).build()?;
    let starts = Starts::new(&lab)?;
    let version = starts.places.pin_dir.join(format!("v{LAYOUT_VERSION}"));
    fs::create_dir_all(version.join("FLOWS"))?;
    starts.refused(
        GOOD,
        &["FLOWS: not a map that xlb pinned, run 'xlb detach' first"],
    )?;
    fs::remove_dir(version.join("FLOWS"))?;
    starts.serves(&starts.places, GOOD)
}

#[test]
fn state_that_cannot_be_kept_or_read_is_told_and_left_alone() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let lab = Lab::new().backends(0).build()?;
    let starts = Starts::new(&lab)?;
    let file = lab.lb.dir.join("notes");
    fs::write(&file, "precious")?;
    let useless = "cannot be used, set node.state_dir to a directory that can be made and written";
    for state_dir in [file.clone(), file.join("state"), PathBuf::from("/proc/xlb")] {
        let places = Places {
            state_dir,
            ..starts.places.clone()
        };
        starts.refused_at(&places, GOOD, &["state_dir ", useless])?;
    }
    let state = starts.places.state_dir.clone();
    fs::create_dir(&state)?;
    fs::set_permissions(&state, fs::Permissions::from_mode(0o755))?;
    starts.write(&starts.places, GOOD)?;
    let read_only = format!(
        "mount -t tmpfs -o ro none '{}' && exec \"$0\" \"$@\"",
        state.display()
    );
    let cannot = "hash.key: cannot be made, set node.state_dir to a directory that can be written";
    starts.refused_by(
        &["unshare", "--mount", "sh", "-c", &read_only],
        &[cannot, "Read-only"],
    )?;
    starts.refused(&GOOD.replace("eth0", "lo"), &["interface lo"])?;
    ensure!(
        fs::metadata(&state)?.permissions().mode() & 0o777 == 0o755,
        "the mode was changed"
    );

    let key = state.join("hash.key");
    let no_key = "hash.key: not a key of 32 hexadecimal digits: mend or remove the file";
    for wrong in [
        &b""[..],
        b"0123456789abcdef",
        b"0123456789abcdef0123456789abcdefg",
        b"\xff\xfe",
    ] {
        fs::write(&key, wrong)?;
        starts.refused(GOOD, &[no_key])?;
    }
    fs::write(&key, "0123456789abcdef0123456789abcdef\n")?;
    let no_changes = "changes.json: not the changes that xlb wrote: mend or remove the file";
    for wrong in ["", "{}", "[{}]", "[{\"change\": \"explode\"}]", "[] []"] {
        fs::write(state.join("changes.json"), wrong)?;
        starts.refused(GOOD, &[no_changes])?;
    }
    fs::remove_file(state.join("changes.json"))?;
    starts.serves(&starts.places, GOOD)?;
    ensure!(fs::read(&file)? == b"precious");
    Ok(())
}
