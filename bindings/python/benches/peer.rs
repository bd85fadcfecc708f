//! The Rust side of `speed.py`: repeats an operation on the same ring as often as each line of standard input says, and
//! answers with a line of the times in nanoseconds.

use std::error::Error;
use std::io::{self, BufRead, Write};
use std::time::{Duration, Instant};

use framebuffer::{FrameBufferClient, Key, Prefault, Start};

fn main() -> Result<(), Box<dyn Error>> {
    let key = std::env::var("FRAMEBUFFER_KEY")?;
    let client = FrameBufferClient::options(Key::new(key)?).prefault(Prefault::Wait).open()?;
    let mut data = Vec::new();
    for line in io::stdin().lock().lines() {
        let line = line?;
        let mut words = line.split_whitespace();
        let (Some(operation), Some(size), Some(count)) = (words.next(), words.next(), words.next()) else {
            return Err("a line is: OPERATION SIZE COUNT".into());
        };
        data.resize(size.parse()?, 7);
        let times = measure(&client, operation, &mut data, count.parse()?)?;
        let text: Vec<_> = times.iter().map(u64::to_string).collect();
        writeln!(io::stdout(), "{}", text.join(" "))?;
    }
    Ok(())
}

fn measure(
    client: &FrameBufferClient,
    operation: &str,
    data: &mut [u8],
    count: usize,
) -> Result<Vec<u64>, Box<dyn Error>> {
    let mut times = Vec::with_capacity(count);
    if let "send" | "receive" = operation {
        let mut publisher = client.publisher("rust")?;
        let mut subscriber = client.subscriber_options("rust").start(Start::New).open()?;
        for _ in 0..count {
            let start = Instant::now();
            publisher.send(data)?;
            let sent = start.elapsed();
            let start = Instant::now();
            drop(subscriber.next(Duration::MAX)?);
            let received = start.elapsed();
            times.push(if operation == "send" { sent } else { received }.as_nanos() as u64);
        }
        return Ok(times);
    }
    for _ in 0..count {
        let frame = if operation == "publish" { None } else { Some(client.publish(data)?) };
        let start = Instant::now();
        match (operation, &frame) {
            ("publish", _) => _ = client.publish(data)?,
            ("read", Some(frame)) => drop(client.read_frame(frame)?),
            ("read_into", Some(frame)) => client.read_into(frame, data)?,
            ("view", Some(frame)) => drop(client.view(frame)?),
            _ => return Err(format!("unknown operation {operation}").into()),
        }
        times.push(start.elapsed().as_nanos() as u64);
    }
    Ok(times)
}
