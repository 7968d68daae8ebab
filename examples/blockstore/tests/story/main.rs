//! The commands against a server for each replica's port, without a balancer.

mod stage;

use std::{
    collections::BTreeMap,
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
    process::Command,
};

use anyhow::{Result, bail, ensure};
use xlb_blockstore::report::Done;

use stage::{Server, Stage};

/// The program itself: exit code, standard output, standard error.
fn program(args: &[&str]) -> Result<(Option<i32>, Vec<u8>, String)> {
    let output = Command::new(env!("CARGO_BIN_EXE_xlb-blockstore"))
        .args(args)
        .output()?;
    let errors = String::from_utf8(output.stderr)?;
    Ok((output.status.code(), output.stdout, errors))
}

fn names(dir: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(dir)?;
    let mut names: Vec<_> = entries
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_>>()?;
    names.sort();
    Ok(names)
}

#[test]
fn a_file_comes_back_byte_exact_and_every_server_has_all_of_it() -> Result<()> {
    let stage = Stage::new()?;
    let (text, words) = stage.put()?;
    let blocks = text.len().div_ceil(1024);
    for server in &stage.servers {
        ensure!(server.count() == blocks + 1, "{} of {blocks}", server.count());
    }
    ensure!(stage.get()? == (text, 0));
    ensure!(stage.count()? == words);
    ensure!(names(stage.dir.path())? == ["copy", "words.txt"]);
    Ok(())
}

#[test]
fn an_empty_file_is_a_file() -> Result<()> {
    let stage = Stage::new()?;
    let (empty, copy) = (stage.path("empty"), stage.path("copy"));
    fs::write(&empty, "")?;
    stage.run(&["put", &empty.display().to_string(), "--name", "nothing at all"])?;
    stage.run(&["get", "nothing at all", "-o", &copy.display().to_string()])?;
    ensure!(fs::read(copy)?.is_empty());
    Ok(())
}

#[test]
fn servers_that_are_gone_damaged_or_empty_are_passed_over() -> Result<()> {
    let mut stage = Stage::new()?;
    let (text, words) = stage.put()?;
    let blocks = text.len().div_ceil(1024) as u64;
    stage.servers[0].stop();
    stage.servers[1].change(|files| {
        for (number, content) in files.values_mut().enumerate() {
            *content = match number % 3 {
                0 => content.slice(..content.len() - 1),
                1 => content.iter().map(|byte| byte ^ 1).collect::<Vec<_>>().into(),
                _ => [content.as_ref(), b"x"].concat().into(),
            };
        }
    });
    ensure!(stage.get()? == (text, blocks));
    ensure!(stage.count()? == words);
    Ok(())
}

#[test]
fn repair_writes_what_is_missing_and_with_verify_what_is_wrong() -> Result<()> {
    let stage = Stage::new()?;
    let (text, _) = stage.put()?;
    let blocks = text.len().div_ceil(1024) as u64;
    let repair = |args: &[&str]| -> Result<_> {
        let report = stage.run(&[&["repair", "words.txt"], args].concat())?;
        ensure!(report.notes().is_empty(), "{report:?}");
        match report.done {
            Done::Repair {
                looked_at,
                written,
                of_blocks,
                manifests,
                ..
            } => Ok((looked_at, written, of_blocks, manifests)),
            other => bail!("{other:?}"),
        }
    };
    let all = (blocks + 1) * 3;
    ensure!(repair(&[])? == (all, 0, 0, 0));
    stage.servers[0].change(BTreeMap::clear);
    stage.servers[1].change(|files| {
        files.pop_first();
    });
    ensure!(repair(&[])? == (all, blocks + 1, blocks, 1));
    stage.servers[2].change(|files| {
        if let Some(mut first) = files.first_entry() {
            let wrong = vec![b'?'; first.get().len()];
            first.insert(wrong.into());
        }
    });
    ensure!(repair(&[])? == (all, 0, 0, 0));
    ensure!(repair(&["--verify"])? == (all, 1, 1, 0));
    ensure!(
        stage
            .servers
            .iter()
            .all(|server| server.count() as u64 == blocks + 1)
    );
    ensure!(stage.servers[2].content() == stage.servers[0].content());
    Ok(())
}

#[test]
fn a_block_that_nobody_has_is_named_and_found_at_a_server_that_is_named() -> Result<()> {
    let stage = Stage::new()?;
    let (text, _) = stage.put()?;
    let elsewhere = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let also: SocketAddr = elsewhere.local_addr()?;
    let old = Server::start(elsewhere)?;
    old.change(|files| *files = stage.servers[0].content());
    for server in &stage.servers {
        server.change(|files| {
            files.pop_first();
        });
    }
    let error = format!("{:#}", stage.get().unwrap_err());
    ensure!(
        error.contains("block 0 of words.txt") && error.contains("127.77.") && error.contains("--also"),
        "{error}"
    );
    let report = stage.run(&["repair", "words.txt"])?;
    ensure!(report.lost.len() == 1, "{report:?}");
    let report = stage.run(&["repair", "words.txt", "--also", &also.to_string()])?;
    ensure!(report.notes().is_empty(), "{report:?}");
    ensure!(stage.get()? == (text, 0));
    Ok(())
}

#[test]
fn a_put_without_one_of_the_servers_says_so_and_without_any_fails() -> Result<()> {
    let mut stage = Stage::new()?;
    let path = stage.path("a");
    fs::write(&path, vec![b'a'; 3000])?;
    let put = ["put", &path.display().to_string(), "--block-size", "1K"];
    stage.servers[2].stop();
    let report = stage.run(&put)?;
    // Three blocks and the manifest.
    ensure!(report.short.len() == 4 && report.lost.is_empty(), "{report:?}");
    ensure!(report.notes()[0].contains("block 0 of a"), "{:?}", report.notes());
    stage.servers[1].stop();
    stage.servers[0].stop();
    let error = format!("{:#}", stage.run(&put).unwrap_err());
    ensure!(
        error.contains("could not be written") && error.contains("xlb status"),
        "{error}"
    );
    Ok(())
}

#[test]
fn of_two_manifests_the_later_one_counts_and_repair_spreads_it() -> Result<()> {
    let stage = Stage::new()?;
    stage.put()?;
    let old = stage.servers[0].content();
    fs::write(stage.path("words.txt"), "other words")?;
    stage.run(&["put", &stage.path("words.txt").display().to_string()])?;
    stage.servers[0].change(|files| *files = old);
    ensure!(stage.get()?.0 == b"other words");
    let report = stage.run(&["repair", "words.txt"])?;
    ensure!(
        matches!(
            report.done,
            Done::Repair {
                written: 1,
                manifests: 1,
                ..
            }
        ),
        "{report:?}"
    );
    ensure!(stage.get()? == (b"other words".to_vec(), 0));
    Ok(())
}

#[test]
fn nothing_is_left_of_a_get_that_fails_nor_is_the_file_before_lost() -> Result<()> {
    let stage = Stage::new()?;
    stage.put()?;
    fs::write(stage.path("copy"), "precious")?;
    for server in &stage.servers {
        server.change(|files| {
            files.retain(|path, _| !path.contains("/00000005-"));
        });
    }
    ensure!(stage.get().is_err());
    ensure!(names(stage.dir.path())? == ["copy", "words.txt"]);
    ensure!(fs::read(stage.path("copy"))? == b"precious");
    Ok(())
}

#[test]
fn the_program_tells_by_its_exit_code_and_gives_content_alone_on_standard_output() -> Result<()> {
    let mut stage = Stage::new()?;
    let (text, words) = stage.put()?;
    let port = stage.port.to_string();
    let of = [
        "words.txt",
        "--network",
        "127.77.0.0/16",
        "--port",
        &port,
        "--tries",
        "1",
    ];
    let with = |command| [&[command], &of[..]].concat();

    let (code, out, errors) = program(&with("get"))?;
    ensure!(
        code == Some(0) && out == text && errors.starts_with("got words.txt: "),
        "{errors}"
    );
    let (code, out, _) = program(&with("count"))?;
    ensure!(code == Some(0) && out == format!("{words} words.txt\n").into_bytes());
    stage.servers[2].stop();
    let (code, _, errors) = program(&with("repair"))?;
    ensure!(
        code == Some(2) && errors.contains("short of a replica: block 0 of words.txt"),
        "{code:?} {errors}"
    );
    for server in &stage.servers {
        server.change(|files| files.retain(|path, _| !path.contains("/00000003-")));
    }
    let (code, _, errors) = program(&with("repair"))?;
    ensure!(
        code == Some(1) && errors.contains("lost: block 3 of words.txt"),
        "{code:?} {errors}"
    );
    ensure!(program(&["--help"])?.0 == Some(0));
    ensure!(program(&["get"])?.0 == Some(1));
    Ok(())
}
