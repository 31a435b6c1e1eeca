//! Answers that are remembered. Without a clock.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::message;

/// How long it is remembered that there is nothing: somebody may be waiting for it to appear.
const NEGATIVE: Duration = Duration::from_secs(5);
/// Answers that are remembered at most, about a megabyte.
const ANSWERS: usize = 4096;

/// Answers by what was asked.
#[derive(Debug)]
pub(super) struct Cache {
    answers: HashMap<Vec<u8>, Remembered>,
    /// No answer is remembered for longer, whatever its records say.
    longest: Duration,
}

#[derive(Debug)]
struct Remembered {
    answer: Vec<u8>,
    since: Instant,
    until: Instant,
}

impl Cache {
    pub(super) fn new(longest: Duration) -> Cache {
        Cache { answers: HashMap::new(), longest }
    }

    /// The answer, if it is remembered, with what is left of its life.
    pub(super) fn get(&self, key: &[u8], now: Instant) -> Option<Vec<u8>> {
        let remembered = self.answers.get(key).filter(|remembered| now < remembered.until)?;
        let mut answer = remembered.answer.clone();
        message::age(&mut answer, now.duration_since(remembered.since).as_secs() as u32);
        Some(answer)
    }

    /// Remembers an answer if it is worth it.
    pub(super) fn put(&mut self, key: Vec<u8>, answer: &[u8], now: Instant) {
        let life = self.life(answer);
        if life.is_zero() {
            return;
        }
        if self.answers.len() >= ANSWERS {
            self.make_room(now);
        }
        self.answers.insert(key, Remembered { answer: answer.to_vec(), since: now, until: now + life });
    }

    fn life(&self, answer: &[u8]) -> Duration {
        let of_records = || Duration::from_secs(message::life(answer).unwrap_or(0).into());
        match message::rcode(answer) {
            _ if message::is_cut(answer) => Duration::ZERO,
            0 if message::has_answers(answer) => of_records().min(self.longest),
            0 | message::NO_SUCH_NAME => NEGATIVE.min(self.longest),
            _ => Duration::ZERO,
        }
    }

    fn make_room(&mut self, now: Instant) {
        self.answers.retain(|_, remembered| now < remembered.until);
        if self.answers.len() >= ANSWERS {
            let next = self.answers.iter().min_by_key(|(_, remembered)| remembered.until);
            if let Some(key) = next.map(|(key, _)| key.clone()) {
                self.answers.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    const KEY: &[u8] = b"key";

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// For how long an answer with this code, number of addresses and life is remembered.
    fn remembered(rcode: u8, addresses: usize, ttl: u32) -> u64 {
        let (mut cache, now) = (Cache::new(seconds(60)), Instant::now());
        let answer = sample::answer(&sample::query("a", 1, None), rcode, &vec![[1, 2, 3, 4]; addresses], ttl);
        cache.put(KEY.to_vec(), &answer, now);
        (0..100).find(|second| cache.get(KEY, now + seconds(*second)).is_none()).expect("an end")
    }

    #[test]
    fn an_answer_is_remembered_for_its_life_or_the_longest_time() {
        assert_eq!(remembered(0, 1, 30), 30);
        assert_eq!(remembered(0, 1, 3600), 60);
        assert_eq!(remembered(0, 1, 0), 0);
    }

    #[test]
    fn that_there_is_nothing_is_remembered_shortly_and_failures_never() {
        assert_eq!(remembered(0, 0, 30), 5);
        assert_eq!(remembered(3, 0, 30), 5);
        assert_eq!(remembered(2, 0, 30), 0);
        assert_eq!(remembered(5, 0, 30), 0);
    }

    #[test]
    fn lives_are_counted_down() {
        let (mut cache, now) = (Cache::new(seconds(60)), Instant::now());
        let answer = sample::answer(&sample::query("a", 1, None), 0, &[[1, 2, 3, 4]], 90);

        cache.put(KEY.to_vec(), &answer, now);

        let later = cache.get(KEY, now + seconds(20)).expect("answer");
        assert_eq!(message::life(&later), Some(70));
    }

    #[test]
    fn no_more_is_remembered_than_there_is_room_for() {
        let (mut cache, now) = (Cache::new(seconds(60)), Instant::now());
        let answer = |ttl| sample::answer(&sample::query("a", 1, None), 0, &[[1, 2, 3, 4]], ttl);
        cache.put(b"first to go".to_vec(), &answer(3), now);
        for number in 0..ANSWERS {
            cache.put(number.to_be_bytes().to_vec(), &answer(30), now);
        }

        assert_eq!(cache.answers.len(), ANSWERS);
        assert_eq!(cache.get(b"first to go", now), None);
    }
}
