//! Blocks and manifests on their servers: read from the first replica that has them right, written to all.

use std::{fmt, iter, net::SocketAddr, time::Duration};

use futures_util::future::join_all;
use hyper::body::Bytes;
use tokio::time::sleep;

use crate::{
    block::{Block, Key},
    hash::Hasher,
    http::{self, Failure, Patience},
    manifest::{self, Manifest},
    name::FileName,
    network::Places,
    words::Words,
};

/// Before the second try; then twice as long each time. xlb's heartbeats need a moment to find that a server has died.
const PAUSE: Duration = Duration::from_millis(250);

/// The servers, as this program reaches them.
#[derive(Clone, Debug)]
pub struct Store {
    pub places: Places,
    /// Before every path, with a slash at its beginning and none at its end.
    pub prefix: String,
    pub patience: Patience,
    /// How often everything is tried, at least once.
    pub tries: u32,
}

/// What becomes of the pieces of a block that is read.
pub trait Take: Default {
    fn take(&mut self, piece: &[u8]);
}

impl Take for Vec<u8> {
    fn take(&mut self, piece: &[u8]) {
        self.extend_from_slice(piece);
    }
}

impl Take for Words {
    fn take(&mut self, piece: &[u8]) {
        *self = self.then(Self::of(piece));
    }
}

impl Take for () {
    fn take(&mut self, _piece: &[u8]) {}
}

/// Something that was read, and which of the replicas it came from, counted from 0.
#[derive(Debug)]
pub struct Read<T> {
    pub value: T,
    pub replica: usize,
}

/// What came of the replicas of one thing.
#[derive(Debug)]
pub struct Attempts {
    what: String,
    failures: Vec<(SocketAddr, Failure)>,
}

impl fmt::Display for Attempts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.told())?;
        self.remedy().map_or(Ok(()), |remedy| write!(f, " ({remedy})"))
    }
}

impl std::error::Error for Attempts {}

impl Attempts {
    #[must_use]
    pub fn new(what: impl fmt::Display, failures: Vec<(SocketAddr, Failure)>) -> Self {
        Self {
            what: what.to_string(),
            failures,
        }
    }

    /// What happened, without a remedy.
    #[must_use]
    pub fn told(&self) -> String {
        let told = self
            .failures
            .iter()
            .map(|(to, failure)| format!("{to}: {failure}"));
        format!("{}: {}", self.what, told.collect::<Vec<_>>().join("; "))
    }

    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> Option<&'static str> {
        self.failures.last().map(|(_, failure)| failure.remedy())
    }

    /// Whether another try may do better.
    fn may_pass(&self) -> bool {
        self.failures.iter().any(|(_, failure)| failure.may_pass())
    }
}

impl Store {
    /// A block from the first of its replicas, or of the servers named `also`, that has it right.
    pub async fn read<T: Take>(&self, block: &Block, also: &[SocketAddr]) -> Result<Read<T>, Attempts> {
        let key = block.key();
        let mut failures = Vec::new();
        for pause in self.pauses() {
            sleep(pause).await;
            failures.clear();
            for (replica, to) in self
                .places
                .replicas(&key.name)
                .chain(also.iter().copied())
                .enumerate()
            {
                match self.read_at(to, block, &key).await {
                    Ok(value) => return Ok(Read { value, replica }),
                    Err(failure) => failures.push((to, failure)),
                }
            }
            if !failures.iter().any(|(_, failure)| failure.may_pass()) {
                break;
            }
        }
        Err(Attempts::new(
            format_args!("{block} is at none of its places"),
            failures,
        ))
    }

    /// A block from one server, if that has it right.
    pub async fn read_at<T: Take>(&self, to: SocketAddr, block: &Block, key: &Key) -> Result<T, Failure> {
        let (mut value, mut hasher) = (T::default(), Hasher::default());
        let take = |piece: &[u8]| {
            hasher.take(piece);
            value.take(piece);
        };
        let found = http::get(to, &self.path(key), self.patience, block.length, take).await?;
        if found != block.length {
            let wanted = block.length;
            return Err(Failure::Length { found, wanted });
        }
        if hasher.hash() != block.hash {
            return Err(Failure::Content);
        }
        Ok(value)
    }

    /// Whether a server has a block, as far as its length tells.
    pub async fn has(&self, to: SocketAddr, block: &Block, key: &Key) -> Result<(), Failure> {
        let wanted = block.length;
        match http::head(to, &self.path(key), self.patience).await? {
            Some(found) if found != wanted => Err(Failure::Length { found, wanted }),
            _ => Ok(()),
        }
    }

    /// Writes to these places, all at once; the failures.
    pub async fn write(
        &self,
        key: &Key,
        body: &Bytes,
        to: impl Iterator<Item = SocketAddr>,
    ) -> Vec<(SocketAddr, Failure)> {
        let writes = to.map(async |to| {
            let path = self.path(key);
            let put = || http::put(to, &path, self.patience, body.clone());
            self.again(put).await.err().map(|failure| (to, failure))
        });
        join_all(writes).await.into_iter().flatten().collect()
    }

    /// What each replica of a file's manifest is.
    pub async fn manifests(&self, file: &FileName) -> Vec<(SocketAddr, Result<Manifest, Failure>)> {
        let key = Key::of_manifest(file);
        join_all(
            self.places
                .replicas(&key.name)
                .map(|to| self.manifest_of(to, file)),
        )
        .await
    }

    /// What a server's manifest of a file is.
    pub async fn manifest_of(
        &self,
        to: SocketAddr,
        file: &FileName,
    ) -> (SocketAddr, Result<Manifest, Failure>) {
        let key = Key::of_manifest(file);
        (to, self.again(|| self.manifest_at(to, file, &key)).await)
    }

    /// A file's manifest: the latest of those that can be read.
    pub async fn manifest(&self, file: &FileName) -> Result<Manifest, Attempts> {
        let key = Key::of_manifest(file);
        let mut found = Err(Attempts::new("", Vec::new()));
        for pause in self.pauses() {
            sleep(pause).await;
            let reads = self.places.replicas(&key.name);
            let reads = reads.map(async |to| (to, self.manifest_at(to, file, &key).await));
            found = latest(file, join_all(reads).await);
            match &found {
                Err(attempts) if attempts.may_pass() => {}
                _ => break,
            }
        }
        found
    }

    async fn manifest_at(&self, to: SocketAddr, file: &FileName, key: &Key) -> Result<Manifest, Failure> {
        let mut bytes = Vec::new();
        let take = |piece: &[u8]| bytes.extend_from_slice(piece);
        http::get(to, &self.path(key), self.patience, manifest::MAX_BYTES, take).await?;
        Ok(Manifest::decode(file, &bytes)?)
    }

    /// Does something until it is done, or cannot be, or has been tried often enough.
    pub async fn again<T, F: Future<Output = Result<T, Failure>>>(
        &self,
        act: impl Fn() -> F,
    ) -> Result<T, Failure> {
        let mut pauses = self.pauses().skip(1);
        loop {
            match act().await {
                Err(failure) if failure.may_pass() => match pauses.next() {
                    Some(pause) => sleep(pause).await,
                    None => return Err(failure),
                },
                other => return other,
            }
        }
    }

    fn path(&self, key: &Key) -> String {
        format!("{}/{}", self.prefix, key.path)
    }

    /// Before each try.
    fn pauses(&self) -> impl Iterator<Item = Duration> + use<> {
        let later = iter::successors(Some(PAUSE), |pause| Some(pause.saturating_mul(2)));
        let tries = usize::try_from(self.tries).unwrap_or(usize::MAX);
        iter::once(Duration::ZERO).chain(later).take(tries.max(1))
    }
}

/// The latest of the manifests that were found.
pub fn latest(
    file: &FileName,
    found: Vec<(SocketAddr, Result<Manifest, Failure>)>,
) -> Result<Manifest, Attempts> {
    let mut failures = Vec::new();
    let mut latest: Option<Manifest> = None;
    for (to, manifest) in found {
        match manifest {
            Ok(manifest)
                if latest
                    .as_ref()
                    .is_none_or(|latest| latest.written() < manifest.written()) =>
            {
                latest = Some(manifest);
            }
            Ok(_) => {}
            Err(failure) => failures.push((to, failure)),
        }
    }
    latest.ok_or_else(|| {
        Attempts::new(
            format_args!("the manifest of {file} is at none of its places"),
            failures,
        )
    })
}
