//! Appends a record and reads the stream back: the Rust program of `docs/guide/quick-start.md`.

use s2_sdk::S2;
use s2_sdk::types::{
    AppendInput, AppendRecord, AppendRecordBatch, BasinName, EnsureBasinInput, EnsureStreamInput,
    ReadFrom, ReadInput, ReadStart, S2Config, S2Endpoints, StreamName,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let token = std::env::var("S2_ACCESS_TOKEN")?;
    let s2 = S2::new(S2Config::new(token).with_endpoints(S2Endpoints::from_env()?))?;
    let (basin, stream): (BasinName, StreamName) = ("my-basin-1".parse()?, "rust".parse()?);
    s2.ensure_basin(EnsureBasinInput::new(basin.clone())).await?;
    let basin = s2.basin(basin);
    basin.ensure_stream(EnsureStreamInput::new(stream.clone())).await?;
    let stream = basin.stream(stream);

    let records = AppendRecordBatch::try_from_iter([AppendRecord::new("first light")?])?;
    let ack = stream.append(AppendInput::new(records)).await?;
    println!("durable up to, not including, {}", ack.end.seq_num);

    let from = ReadStart::new().with_from(ReadFrom::SeqNum(0));
    let batch = stream.read(ReadInput::new().with_start(from)).await?;
    for record in batch.records {
        println!("{}: {}", record.seq_num, String::from_utf8_lossy(&record.body));
    }
    Ok(())
}
