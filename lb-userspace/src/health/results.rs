//! The way of results to who judges them. What changes nothing wakes nobody: it is there when somebody looks, in order.

use std::sync::Arc;

use tokio::sync::{Notify, mpsc};

use super::Observation;

/// So many at most wait for somebody who looks, whatever they say. A failure is heard behind them: each takes some microseconds, and a
/// turn of the control loop is to stay within a tenth of a millisecond.
const MANY: usize = 16;

/// Where results are made.
#[derive(Debug)]
pub struct Sender<K> {
    queue: mpsc::Sender<Observation<K>>,
    news: Arc<Notify>,
}

/// Where they are judged.
#[derive(Debug)]
pub struct Receiver<K> {
    queue: mpsc::Receiver<Observation<K>>,
    news: Arc<Notify>,
}

/// Nobody judges any more.
#[derive(Debug)]
pub struct Gone;

/// Both ends of a queue for so many.
#[must_use]
pub fn channel<K>(room: usize) -> (Sender<K>, Receiver<K>) {
    let (sent, received) = mpsc::channel(room);
    let news = Arc::new(Notify::new());
    let sender = Sender {
        queue: sent,
        news: news.clone(),
    };
    let receiver = Receiver {
        queue: received,
        news,
    };
    (sender, receiver)
}

impl<K> Sender<K> {
    /// Waits for room.
    ///
    /// # Errors
    /// When nobody receives any more.
    pub async fn send(&self, result: Observation<K>, is_news: bool) -> Result<(), Gone> {
        self.queue.send(result).await.map_err(|_| Gone)?;
        let waiting = self.queue.max_capacity() - self.queue.capacity();
        if is_news || waiting >= MANY.min(self.queue.max_capacity()) {
            self.news.notify_one();
        }
        Ok(())
    }
}

impl<K> Clone for Sender<K> {
    fn clone(&self) -> Self {
        Self {
            queue: self.queue.clone(),
            news: self.news.clone(),
        }
    }
}

impl<K> Receiver<K> {
    /// Waits until one has come that is news, or many have.
    pub async fn news(&self) {
        self.news.notified().await;
    }

    /// The next one, if any waits.
    pub fn try_next(&mut self) -> Option<Observation<K>> {
        self.queue.try_recv().ok()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use futures_util::FutureExt as _;

    use super::*;
    use crate::health::Answer;

    fn result(key: usize) -> Observation<usize> {
        Observation {
            key,
            check: 0,
            run: 0,
            result: Ok(Answer::default()),
            took: Duration::ZERO,
            at: Instant::now(),
        }
    }

    fn keys(receiver: &mut Receiver<usize>) -> Vec<usize> {
        std::iter::from_fn(|| receiver.try_next())
            .map(|one| one.key)
            .collect()
    }

    #[tokio::test]
    async fn what_is_no_news_wakes_nobody_and_comes_with_the_next_in_order() {
        let (sender, mut receiver) = channel(8);
        sender.send(result(1), false).await.unwrap();
        sender.send(result(2), false).await.unwrap();
        assert!(receiver.news().now_or_never().is_none());
        sender.send(result(3), true).await.unwrap();
        sender.send(result(4), false).await.unwrap();
        assert!(receiver.news().now_or_never().is_some());
        assert_eq!(keys(&mut receiver), [1, 2, 3, 4]);
        assert!(receiver.news().now_or_never().is_none());
    }

    #[tokio::test]
    async fn it_is_there_for_who_looks() {
        let (sender, mut receiver) = channel(8);
        sender.send(result(1), false).await.unwrap();
        assert_eq!(keys(&mut receiver), [1]);
    }

    #[tokio::test]
    async fn many_are_news_and_so_is_a_full_queue() {
        for room in [8, 1024] {
            let (sender, mut receiver) = channel(room);
            let many = MANY.min(room);
            for key in 1..many {
                sender.send(result(key), false).await.unwrap();
            }
            assert!(receiver.news().now_or_never().is_none());
            sender.send(result(many), false).await.unwrap();
            assert!(receiver.news().now_or_never().is_some());
            assert_eq!(keys(&mut receiver).len(), many);
        }
    }

    #[tokio::test]
    async fn without_a_receiver_it_says_so() {
        let (sender, receiver) = channel(8);
        drop(receiver);
        assert!(sender.send(result(1), true).await.is_err());
    }
}
