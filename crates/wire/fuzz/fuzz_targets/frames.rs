//! Arbitrary bytes, chosen by what they reach.
#![no_main]

#[path = "../feed.rs"]
mod feed;

libfuzzer_sys::fuzz_target!(|input: &[u8]| feed::feed(input));
