//! Answers in several messages that are one list each: see `pieces.rs`.

use super::blobs::ArtifactsReport;
use super::caches::CachesReport;
use super::cutter::Cutter;
use super::operator::{RunnersReport, SecretsReport, TokensReport};
use super::pieces::Pieces;

impl Pieces for RunnersReport {
    fn cut(mut self, max: usize) -> Vec<Self> {
        let runners = std::mem::take(&mut self.runners);
        let mut pieces = Cutter::new(self.clone(), self, max);
        for runner in runners {
            pieces.add(&runner).runners.push(runner);
        }
        pieces.finish(|piece| &mut piece.more)
    }

    fn join(&mut self, next: Self) {
        self.runners.extend(next.runners);
        self.more = next.more;
    }
}

impl Pieces for TokensReport {
    fn cut(mut self, max: usize) -> Vec<Self> {
        let tokens = std::mem::take(&mut self.tokens);
        let mut pieces = Cutter::new(self.clone(), self, max);
        for token in tokens {
            pieces.add(&token).tokens.push(token);
        }
        pieces.finish(|piece| &mut piece.more)
    }

    fn join(&mut self, next: Self) {
        self.tokens.extend(next.tokens);
        self.more = next.more;
    }
}

impl Pieces for ArtifactsReport {
    fn cut(mut self, max: usize) -> Vec<Self> {
        let (artifacts, removed) = (std::mem::take(&mut self.artifacts), std::mem::take(&mut self.removed));
        let mut pieces = Cutter::new(self.clone(), self, max);
        for artifact in artifacts {
            pieces.add(&artifact).artifacts.push(artifact);
        }
        for artifact in removed {
            pieces.add(&artifact).removed.push(artifact);
        }
        pieces.finish(|piece| &mut piece.more)
    }

    fn join(&mut self, next: Self) {
        self.artifacts.extend(next.artifacts);
        self.removed.extend(next.removed);
        self.more = next.more;
    }
}

impl Pieces for CachesReport {
    fn cut(mut self, max: usize) -> Vec<Self> {
        let caches = std::mem::take(&mut self.caches);
        let (tools, entries) = (std::mem::take(&mut self.tools), std::mem::take(&mut self.entries));
        let mut pieces = Cutter::new(self.clone(), self, max);
        for cache in caches {
            pieces.add(&cache).caches.push(cache);
        }
        for tool in tools {
            pieces.add(&tool).tools.push(tool);
        }
        for entry in entries {
            pieces.add(&entry).entries.push(entry);
        }
        pieces.finish(|piece| &mut piece.more)
    }

    fn join(&mut self, next: Self) {
        self.caches.extend(next.caches);
        self.tools.extend(next.tools);
        self.entries.extend(next.entries);
        self.more = next.more;
    }
}

impl Pieces for SecretsReport {
    fn cut(mut self, max: usize) -> Vec<Self> {
        let secrets = std::mem::take(&mut self.secrets);
        let mut pieces = Cutter::new(self.clone(), self, max);
        for secret in secrets {
            pieces.add(&secret).secrets.push(secret);
        }
        pieces.finish(|piece| &mut piece.more)
    }

    fn join(&mut self, next: Self) {
        self.secrets.extend(next.secrets);
        self.more = next.more;
    }
}
