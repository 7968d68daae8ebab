//! HTTP in both versions, in the clear and over TLS, against nginx.

use anyhow::Result;
use xlb_tests::{Lab, preflight};

use crate::{
    authority::{Authority, GOOD},
    stage::{check, service, wait_for, wait_until_ready},
};

#[test]
fn http_and_https_in_both_versions_see_nginx_live_and_die() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let lab = Lab::new().backends(1).build()?;
    let b1 = lab.backend(0);
    let authority = Authority::new(lab.dir(), "ours")?;
    let issued = authority.issue("www.example.com", GOOD)?;
    let nginx = b1.nginx_with().ports(&[80, 81]).http2(&[81, 443]);
    let mut nginx = nginx.tls(443, &issued.certificate, &issued.key).start()?;

    let tls = format!(
        "type = \"https\"\nport = 443\nserver_name = \"www.example.com\"\nca = \"{}\"\n",
        authority.file.display()
    );
    let health = "path = \"/health\"\nstatus = \"200\"\nbody = \"ok\"\n";
    let kinds = [
        ("http1", "type = \"http\"\nport = 80\n".to_owned()),
        (
            "http2",
            "type = \"http\"\nport = 81\nversion = \"2\"\n".to_owned(),
        ),
        ("https1", tls.clone()),
        ("https2", tls + "version = \"2\"\n"),
    ];
    let services: String = kinds
        .iter()
        .zip(8001..)
        .map(|((name, fields), port)| {
            let check = check(&format!("{fields}{health}"));
            service(&lab, name, &format!("{port}/tcp"), &check, &b1.as_backend())
        })
        .collect();
    let agent = lab.agent(&services).start()?;
    wait_until_ready(&agent)?;
    let all_are = |health: &str, words: &str| {
        kinds
            .iter()
            .try_for_each(|(name, _)| wait_for(&agent, &format!("{name}/b1"), health, words).map(drop))
    };
    all_are("up", "status 200")?;
    nginx.set_healthy(false)?;
    all_are("down", "status 503 instead of 200")?;
    nginx.set_healthy(true)?;
    all_are("up", "status 200")?;
    nginx.stop();
    all_are("down", "connect: connection refused")?;
    nginx.start()?;
    all_are("up", "status 200")
}
