//! Says what time it is, waits 400 ms, and says that it has.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

fn main() {
    println!("{}", SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_nanos());
    std::thread::park_timeout(Duration::from_millis(400));
    println!("done");
}
