//! Creating, showing and deleting basins and streams, each logged before it is answered.

use std::rc::Rc;

use super::call::{Answer, CallResult, Page, StreamPath};
use super::engine::{Engine, Refused};
use crate::control::{BasinRecord, Creation, Stream, StreamRecord};
use crate::io::Io;
use crate::types::{BasinConfig, BasinName, PartialStreamConfig, Refusal, StreamConfig};

impl<I: Io> Engine<I> {
    /// The stream to append to, created if its basin says so.
    pub(super) fn stream_for_append(
        &self,
        path: &StreamPath,
        auto_create: &PartialStreamConfig,
    ) -> Result<Rc<Stream>, Refused> {
        self.stream_or_create(path, auto_create, |config| config.create_stream_on_append)
    }

    /// The stream to read from, created if its basin says so. Its creation may not be durable.
    pub(super) fn stream_for_read(
        &self,
        path: &StreamPath,
        auto_create: &PartialStreamConfig,
    ) -> Result<Rc<Stream>, Refused> {
        self.stream_or_create(path, auto_create, |config| config.create_stream_on_read)
    }

    fn stream_or_create(
        &self,
        path: &StreamPath,
        auto_create: &PartialStreamConfig,
        may_create: impl FnOnce(&BasinConfig) -> bool,
    ) -> Result<Rc<Stream>, Refused> {
        match self.find_stream(path) {
            Err(Refused { refusal: Refusal::StreamNotFound(name), ticket }) => {
                let config = self.basin_config(&path.basin)?;
                if !may_create(&config) {
                    return Err(Refused { refusal: Refusal::StreamNotFound(name), ticket });
                }
                self.check_basin_is_staying(&path.basin)?;
                self.check_open()?;
                self.check_room_to_create()?;
                Ok(self.add_stream(path, auto_create, &config, None))
            }
            found => found,
        }
    }

    /// The stream of this name, if it may be used.
    fn find_stream(&self, path: &StreamPath) -> Result<Rc<Stream>, Refused> {
        let catalog = self.catalog.borrow();
        let Some(basin) = catalog.basin(&path.basin) else {
            return Err(Refusal::BasinNotFound(path.basin.to_string()).into());
        };
        let name = || path.stream.to_string();
        match catalog.stream(&path.basin, &path.stream) {
            // It says that the basin exists.
            None => Err(Refused {
                refusal: Refusal::StreamNotFound(name()),
                ticket: basin.created_ticket,
            }),
            Some(stream) if stream.is_deleting() => Err(Refused {
                refusal: Refusal::StreamDeletionPending(name()),
                ticket: stream.last_ticket.get(),
            }),
            Some(stream) => Ok(Rc::clone(stream)),
        }
    }

    fn basin_config(&self, name: &BasinName) -> Result<BasinConfig, Refused> {
        let catalog = self.catalog.borrow();
        let basin = catalog.basin(name);
        let basin = basin.ok_or_else(|| Refusal::BasinNotFound(name.to_string()))?;
        Ok(basin.record.config.clone())
    }

    /// Refuses when the basin is being deleted (or unknown).
    fn check_basin_is_staying(&self, name: &BasinName) -> Result<(), Refused> {
        let catalog = self.catalog.borrow();
        let basin = catalog.basin(name);
        let basin = basin.ok_or_else(|| Refusal::BasinNotFound(name.to_string()))?;
        if basin.record.deleted_us.is_some() {
            let refusal = Refusal::BasinDeletionPending(name.to_string());
            return Err(Refused { refusal, ticket: basin.ticket });
        }
        Ok(())
    }

    fn add_stream(
        &self,
        path: &StreamPath,
        config: &PartialStreamConfig,
        basin: &BasinConfig,
        creation: Option<Creation>,
    ) -> Rc<Stream> {
        let id = self.catalog.borrow_mut().take_stream_id();
        let record = StreamRecord {
            id,
            basin: path.basin.to_string(),
            name: path.stream.to_string(),
            created_us: self.io.wall_us(),
            deleted_us: None,
            config: config.resolve(&basin.default_stream_config),
            cipher: basin.stream_cipher,
            creation,
        };
        // The ticket is known only once it is logged, and the note wants the stream.
        let ticket = self.writer.newest_ticket() + 1;
        let stream = Rc::new(Stream::new(record.clone(), ticket));
        let logged = self.log_stream(&record, &stream);
        assert_eq!(logged, ticket, "nothing was logged in between");
        let (basin, name) = (path.basin.clone(), path.stream.clone());
        self.catalog.borrow_mut().add_stream(basin, name, &stream);
        stream
    }

    /// Creates a stream, or recognises the same request.
    pub(super) async fn create_stream(
        &self,
        path: &StreamPath,
        config: &PartialStreamConfig,
        creation: Option<Creation>,
    ) -> CallResult {
        let made = self.make_stream(path, config, creation);
        let (stream, created) = match made {
            Ok(made) => made,
            Err(refused) => return self.refuse(refused).await,
        };
        self.settle(stream.created_ticket).await?;
        Ok(Answer::Stream(stream.record(), created))
    }

    fn make_stream(
        &self,
        path: &StreamPath,
        config: &PartialStreamConfig,
        creation: Option<Creation>,
    ) -> Result<(Rc<Stream>, bool), Refused> {
        self.check_open()?;
        self.check_basin_is_staying(&path.basin)?;
        match self.find_stream(path) {
            Ok(stream) if creation.is_some() && stream.record().creation == creation => {
                Ok((stream, false))
            }
            Ok(stream) => Err(Refused {
                refusal: Refusal::AlreadyExists(format!("stream `{}`", path.stream)),
                ticket: stream.created_ticket,
            }),
            Err(Refused { refusal: Refusal::StreamNotFound(_), .. }) => {
                let basin = self.basin_config(&path.basin)?;
                self.check_room_to_create()?;
                Ok((self.add_stream(path, config, &basin, creation), true))
            }
            Err(refused) => Err(refused),
        }
    }

    /// A stream's configuration.
    pub(super) async fn stream_config(&self, path: &StreamPath) -> Result<StreamConfig, Refusal> {
        match self.find_stream(path) {
            Ok(stream) => {
                self.settle(stream.created_ticket).await?;
                Ok(stream.record().config)
            }
            Err(refused) => self.refuse(refused).await,
        }
    }

    /// Marks a stream as being deleted and purges it; returns once both are durable.
    pub(super) async fn delete_stream(&self, path: &StreamPath) -> CallResult {
        self.check_open()?;
        match self.find_stream(path) {
            Ok(stream) => self.delete(&stream).await.map(|()| Answer::Done),
            // Asked again while it goes on: the same answer, when the mark is durable.
            Err(Refused { refusal: Refusal::StreamDeletionPending(_), ticket }) => {
                self.settle(ticket).await.map(|()| Answer::Done)
            }
            Err(refused) => self.refuse(refused).await,
        }
    }

    /// Deletes a stream: first the durable mark, then that it is gone. A crash in between leaves
    /// the mark, and a restart goes on from there.
    pub async fn delete(&self, stream: &Rc<Stream>) -> Result<(), Refusal> {
        if !stream.is_deleting() {
            let record = StreamRecord { deleted_us: Some(self.io.wall_us()), ..stream.record() };
            stream.set_record(record.clone());
            let ticket = self.log_stream(&record, stream);
            stream.last_ticket.set(ticket);
            stream.changed.notify();
        }
        self.settle(stream.last_ticket.get()).await?;
        let ticket = self.log_stream_gone(stream);
        self.settle(ticket).await
    }

    /// Streams of a basin, sorted, as they are durably: what is not yet created or deleted so is
    /// not shown so.
    pub(super) fn list_streams(&self, basin: &BasinName, page: &Page) -> CallResult {
        let catalog = self.catalog.borrow();
        let durable = self.durable.reached();
        if catalog.basin(basin).is_none_or(|b| b.created_ticket > durable) {
            return Err(Refusal::BasinNotFound(basin.to_string()));
        }
        let streams = catalog.streams_from(basin, &page.prefix, &page.start_after);
        let shown = streams.filter(|s| s.created_ticket <= durable).take(page.limit);
        let records = shown.map(|stream| {
            let mut record = stream.record();
            record.deleted_us = record.deleted_us.filter(|_| stream.last_ticket.get() <= durable);
            record
        });
        Ok(Answer::Streams(records.collect()))
    }

    /// Deletes all streams of a basin that is being deleted; nothing when it is not, since then
    /// another call has finished and the name may be in use again.
    pub(super) async fn delete_streams_of(&self, basin: &BasinName) -> CallResult {
        let streams: Vec<Rc<Stream>> = {
            let catalog = self.catalog.borrow();
            if catalog.basin(basin).is_none_or(|b| b.record.deleted_us.is_none()) {
                return Ok(Answer::Done);
            }
            catalog.streams_from(basin, "", "").cloned().collect()
        };
        for stream in streams {
            self.delete(&stream).await?;
        }
        Ok(Answer::Done)
    }

    /// Creates a basin, or recognises the same request. Shard 0 only.
    pub(super) async fn create_basin(
        &self,
        name: &BasinName,
        config: BasinConfig,
        creation: Option<Creation>,
    ) -> CallResult {
        let (record, created, ticket) = match self.make_basin(name, config, creation) {
            Ok(made) => made,
            Err(refused) => return self.refuse(refused).await,
        };
        self.settle(ticket).await?;
        Ok(Answer::Basin(record, created))
    }

    fn make_basin(
        &self,
        name: &BasinName,
        config: BasinConfig,
        creation: Option<Creation>,
    ) -> Result<(BasinRecord, bool, u64), Refused> {
        self.check_open()?;
        let known = self.catalog.borrow().basin(name).cloned();
        let Some(basin) = known else {
            self.check_room_to_create()?;
            let created_us = self.io.wall_us();
            let name_text = name.to_string();
            let record =
                BasinRecord { name: name_text, created_us, deleted_us: None, config, creation };
            let ticket = self.log_basin(&record);
            self.catalog.borrow_mut().put_basin(name.clone(), record.clone(), ticket);
            return Ok((record, true, ticket));
        };
        let refusal = if basin.record.deleted_us.is_some() {
            Refusal::BasinDeletionPending(name.to_string())
        } else if creation.is_some() && basin.record.creation == creation {
            return Ok((basin.record, false, basin.ticket));
        } else {
            Refusal::AlreadyExists(format!("basin `{name}`"))
        };
        Err(Refused { refusal, ticket: basin.ticket })
    }

    /// A basin as it is.
    pub(super) async fn basin(&self, name: &BasinName) -> CallResult {
        let known = self.catalog.borrow().basin(name).cloned();
        let basin = known.ok_or_else(|| Refusal::BasinNotFound(name.to_string()))?;
        self.settle(basin.ticket).await?;
        Ok(Answer::Basin(basin.record, false))
    }

    /// Marks a basin as being deleted. Shard 0 only.
    pub(super) async fn mark_basin_deleted(&self, name: &BasinName) -> CallResult {
        self.check_open()?;
        let known = self.catalog.borrow().basin(name).cloned();
        let mut basin = known.ok_or_else(|| Refusal::BasinNotFound(name.to_string()))?;
        if basin.record.deleted_us.is_none() {
            basin.record.deleted_us = Some(self.io.wall_us());
            basin.ticket = self.log_basin(&basin.record);
            let record = basin.record.clone();
            self.catalog.borrow_mut().put_basin(name.clone(), record, basin.ticket);
        }
        self.settle(basin.ticket).await?;
        Ok(Answer::Basin(basin.record, false))
    }

    /// Basins, sorted, as they are durably; see [`list_streams`](Self::list_streams).
    pub(super) fn list_basins(&self, page: &Page) -> Answer {
        let catalog = self.catalog.borrow();
        let durable = self.durable.reached();
        let basins = catalog.basins_from(&page.prefix, &page.start_after);
        let shown = basins.filter(|b| b.created_ticket <= durable).take(page.limit);
        let records = shown.map(|basin| {
            let mut record = basin.record.clone();
            record.deleted_us = record.deleted_us.filter(|_| basin.ticket <= durable);
            record
        });
        Answer::Basins(records.collect())
    }

    /// Takes over a copy of a basin that shard 0 holds.
    pub(super) fn copy_basin(&self, record: BasinRecord) -> CallResult {
        let name = BasinName::new(&record.name).expect("shard 0 keeps only valid names");
        self.catalog.borrow_mut().put_basin(name, record, 0);
        Ok(Answer::Done)
    }

    /// Forgets a basin without streams; shard 0 logs it, the others only drop their copy.
    pub(super) async fn forget_basin(&self, name: &BasinName) -> CallResult {
        if self.owns_basins() {
            let ticket = self.log_basin_gone(name);
            self.settle(ticket).await?;
        } else {
            self.catalog.borrow_mut().remove_basin(name);
        }
        Ok(Answer::Done)
    }

    /// All basins, for handing copies to the other shards at start.
    pub fn basin_records(&self) -> Vec<BasinRecord> {
        self.catalog.borrow().basins().map(|(_, b)| b.record.clone()).collect()
    }
}
