//! [`Crowd`]: the open connections of one kind, of which there are only so many at a time.
//!
//! Who comes is let in. If all places are taken, the one who has kept its place for longest without getting on has to
//! leave: in the handshake, idle, dripping its request, or not taking its answer. A request in [`Phase::Work`] stays.
//! So whoever asks as soon as it is connected is answered, however many others are there and say nothing.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::progress::{Phase, Progress};
use crate::seldom::Seldom;

/// How often a newcomer looks for somebody to dismiss, while all others are in work.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// The open connections of one kind.
pub struct Crowd {
    size: usize,
    free: Arc<Semaphore>,
    members: Mutex<Members>,
}

struct Members {
    here: Vec<Arc<Progress>>,
    crowded: Seldom,
}

impl Crowd {
    /// With room for `size` connections.
    pub fn new(size: usize) -> Arc<Self> {
        let members = Mutex::new(Members { here: Vec::with_capacity(size), crowded: Seldom::default() });
        Arc::new(Self { size, free: Arc::new(Semaphore::new(size)), members })
    }

    /// A place for a new connection; if there is none, as soon as another one has been told to leave and is gone.
    #[expect(clippy::missing_panics_doc, reason = "nobody closes the semaphore")]
    pub async fn enter(self: &Arc<Self>) -> Place {
        let permit = loop {
            let free = Arc::clone(&self.free);
            if free.available_permits() == 0 {
                self.dismiss_one();
            }
            if let Ok(permit) = timeout(LOOK_AGAIN, free.acquire_owned()).await {
                break permit.expect("the semaphore is never closed");
            }
        };
        let progress = Arc::new(Progress::new());
        self.members().here.push(Arc::clone(&progress));
        Place { crowd: Arc::clone(self), progress, _permit: permit }
    }

    /// Tells the connection that is in its phase for longest to leave.
    fn dismiss_one(&self) {
        let mut members = self.members();
        let waiting = members.here.iter().map(|member| (member.state(), member));
        let slowest = waiting.filter(|((phase, _), _)| *phase != Phase::Work).min_by_key(|((_, since), _)| *since);
        if let Some((_, slowest)) = slowest {
            slowest.dismiss();
        }
        if members.crowded.is_due() {
            tracing::warn!(limit = self.size, "all connections are taken; new ones replace those that do not get on");
        }
    }

    /// Waits until all are gone. Nobody may enter any more.
    pub async fn gone(&self) {
        // The size comes from a table of small numbers.
        let all = u32::try_from(self.size).unwrap_or(u32::MAX);
        let _ = self.free.acquire_many(all).await;
    }

    fn members(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to be connected. Drop it after the connection.
pub struct Place {
    crowd: Arc<Crowd>,
    progress: Arc<Progress>,
    _permit: OwnedSemaphorePermit,
}

impl Place {
    /// How far the connection is.
    pub fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }

    /// Waits until it is told to leave.
    pub async fn dismissed(&self) {
        self.progress.dismissed().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.crowd.members().here.retain(|member| !Arc::ptr_eq(member, &self.progress));
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::JoinHandle;

    use super::*;

    async fn full(size: usize) -> (Arc<Crowd>, Vec<Place>) {
        let crowd = Crowd::new(size);
        let mut places = Vec::new();
        for _ in 0..size {
            places.push(crowd.enter().await);
        }
        (crowd, places)
    }

    /// Waits until it is told to leave, as soon as a newcomer may notice that it should be.
    async fn dismissed(place: &Place) -> bool {
        timeout(Duration::from_secs(1), place.dismissed()).await.is_ok()
    }

    fn newcomer(crowd: &Arc<Crowd>) -> JoinHandle<Place> {
        let crowd = Arc::clone(crowd);
        tokio::spawn(async move { crowd.enter().await })
    }

    #[tokio::test]
    async fn who_has_not_got_on_for_longest_makes_room() {
        let (crowd, mut places) = full(3).await;
        // The first is the oldest, but it has just asked.
        places[0].progress().enter(Phase::Request);
        let entered = newcomer(&crowd);
        assert!(dismissed(&places[1]).await);
        assert!(!entered.is_finished(), "the place is still taken");
        drop(places.remove(1));
        places.push(entered.await.unwrap());
        assert_eq!(places[2].progress().phase(), Phase::Handshake);
        assert_eq!(crowd.members().here.len(), 3);
        places.clear();
        crowd.gone().await;
        assert_eq!(crowd.members().here.len(), 0);
    }

    #[tokio::test]
    async fn an_answer_that_is_not_taken_is_as_old_as_its_request() {
        let (crowd, places) = full(2).await;
        places[0].progress().enter(Phase::Request);
        places[1].progress().enter(Phase::Request);
        places[0].progress().enter(Phase::Answer);
        let entered = newcomer(&crowd);
        assert!(dismissed(&places[0]).await);
        drop(places);
        entered.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_in_work_stays_and_who_is_done_first_makes_room() {
        let (crowd, mut places) = full(2).await;
        for place in &places {
            place.progress().enter(Phase::Work);
        }
        let entered = newcomer(&crowd);
        for place in &places {
            assert!(!dismissed(place).await, "it is in work");
        }
        places[1].progress().enter(Phase::Idle);
        assert!(dismissed(&places[1]).await, "it has been answered");
        places.remove(1);
        entered.await.unwrap();
    }
}
