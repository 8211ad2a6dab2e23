//! Creating, changing, showing and deleting streams, each logged before it is answered.

use std::rc::Rc;

use super::call::{Answer, Asked, CallResult, Page, StreamPath};
use super::encryption::check_key;
use super::engine::{Engine, Refused};
use crate::api::response::Provision;
use crate::audit::{self, Origin};
use crate::control::{Creation, Stream, StreamRecord};
use crate::crypto::StreamKey;
use crate::io::Io;
use crate::types::{
    BasinConfig, BasinName, Cipher, PartialStreamConfig, Refusal, StorageClass, StreamConfig,
    StreamConfigPatch, SuppliedKey,
};

/// Streams of a deleted basin that are deleted at once; then others have a turn.
const DELETIONS_AT_ONCE: usize = 256;
/// Pause before looking again for room in the log, in microseconds.
const ROOM_RETRY_US: u64 = 250_000;

impl<I: Io> Engine<I> {
    /// The stream to append to, created if its basin says so, and the request's key to it.
    ///
    /// * Errors: who has no key to it creates nothing.
    pub(super) fn stream_for_append(
        &self,
        (path, key): (&StreamPath, Option<&SuppliedKey>),
        asked: &Asked,
    ) -> Result<(Rc<Stream>, Option<StreamKey>), Refused> {
        let check = |cipher| check_key(cipher, key);
        let stream = self.stream_or_create(path, asked, |c| c.create_stream_on_append, check)?;
        let key = self.key_to(&stream, key)?;
        Ok((stream, key))
    }

    /// The same to read from. Its creation may not be durable.
    pub(super) fn stream_for_read(
        &self,
        (path, key): (&StreamPath, Option<&SuppliedKey>),
        asked: &Asked,
    ) -> Result<(Rc<Stream>, Option<StreamKey>), Refused> {
        let check = |cipher| check_key(cipher, key);
        let stream = self.stream_or_create(path, asked, |c| c.create_stream_on_read, check)?;
        let key = self.key_to(&stream, key)?;
        Ok((stream, key))
    }

    /// The stream whose tail is asked for, for which nobody needs a key.
    pub(super) fn stream_for_tail(
        &self,
        path: &StreamPath,
        from: Origin,
    ) -> Result<Rc<Stream>, Refused> {
        let asked = Asked { from, ..Asked::default() };
        self.stream_or_create(path, &asked, |c| c.create_stream_on_read, |_| Ok(()))
    }

    fn stream_or_create(
        &self,
        path: &StreamPath,
        asked: &Asked,
        may_create: impl FnOnce(&BasinConfig) -> bool,
        check_cipher: impl FnOnce(Option<Cipher>) -> Result<(), Refusal>,
    ) -> Result<Rc<Stream>, Refused> {
        match self.find_stream(path) {
            Err(Refused { refusal: Refusal::StreamNotFound(name), ticket }) => {
                let config = self.basin_config(&path.basin)?;
                if !may_create(&config) {
                    return Err(Refused { refusal: Refusal::StreamNotFound(name), ticket });
                }
                self.check_basin_is_staying(&path.basin)?;
                check_cipher(config.stream_cipher)?;
                self.check_open()?;
                self.check_room_to_create()?;
                let stream = self.add_stream(path, &asked.auto_create, &config, None);
                audit::auto_created(path, &asked.from);
                Ok(stream)
            }
            found => found,
        }
    }

    /// The storage class of a stream, if there is one of this name.
    pub(super) fn class_of(&self, path: &StreamPath) -> Option<StorageClass> {
        let catalog = self.catalog.borrow();
        catalog.stream(&path.basin, &path.stream).map(|stream| stream.class())
    }

    /// The stream of this name, if it may be used.
    fn find_stream(&self, path: &StreamPath) -> Result<Rc<Stream>, Refused> {
        let catalog = self.catalog.borrow();
        if catalog.basin(&path.basin).is_none() {
            return Err(Refusal::BasinNotFound(path.basin.to_string()).into());
        }
        let name = || path.stream.to_string();
        match catalog.stream(&path.basin, &path.stream) {
            None => Err(Refusal::StreamNotFound(name()).into()),
            Some(stream) if stream.is_deleting() => Err(Refused {
                refusal: Refusal::StreamDeletionPending(name()),
                ticket: stream.metadata_ticket.get(),
            }),
            Some(stream) => Ok(Rc::clone(stream)),
        }
    }

    fn basin_config(&self, name: &BasinName) -> Result<BasinConfig, Refusal> {
        let catalog = self.catalog.borrow();
        let basin = catalog.basin(name).ok_or_else(|| Refusal::BasinNotFound(name.to_string()))?;
        Ok(basin.config.clone())
    }

    /// Refuses when the basin is being deleted (or unknown).
    fn check_basin_is_staying(&self, name: &BasinName) -> Result<(), Refusal> {
        let catalog = self.catalog.borrow();
        let basin = catalog.basin(name).ok_or_else(|| Refusal::BasinNotFound(name.to_string()))?;
        match basin.deleted_us {
            None => Ok(()),
            Some(_) => Err(Refusal::BasinDeletionPending(name.to_string())),
        }
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
            delete_on_empty_since_us: None,
            hidden_before_ms: None,
        };
        // The ticket is known only once it is logged, and the note wants the stream.
        let ticket = self.writer.newest_ticket() + 1;
        let stream = Rc::new(Stream::new(record.clone(), ticket));
        let logged = self.log_stream(&record, &stream);
        assert_eq!(logged, ticket, "nothing was logged in between");
        self.catalog.borrow_mut().add_stream(path.basin.clone(), &stream);
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
        let (stream, provision) = match made {
            Ok(made) => made,
            Err(refused) => return self.refuse(refused).await,
        };
        // As it is now: what happens to it meanwhile may not be durable when this is answered.
        let record = stream.record();
        self.settle(stream.created_ticket).await?;
        Ok(Answer::Stream(record, provision))
    }

    fn make_stream(
        &self,
        path: &StreamPath,
        config: &PartialStreamConfig,
        creation: Option<Creation>,
    ) -> Result<(Rc<Stream>, Provision), Refused> {
        self.check_open()?;
        self.check_basin_is_staying(&path.basin)?;
        match self.find_stream(path) {
            Ok(stream) if creation.is_some() && stream.record().creation == creation => {
                Ok((stream, Provision::Noop))
            }
            Ok(stream) => Err(Refused {
                refusal: Refusal::AlreadyExists(format!("stream `{}`", path.stream)),
                ticket: stream.created_ticket,
            }),
            Err(Refused { refusal: Refusal::StreamNotFound(_), .. }) => {
                let basin = self.basin_config(&path.basin)?;
                self.check_room_to_create()?;
                Ok((self.add_stream(path, config, &basin, creation), Provision::Created))
            }
            Err(refused) => Err(refused),
        }
    }

    /// Creates a stream, or gives the one that is there the configuration asked for.
    pub(super) async fn ensure_stream(
        &self,
        path: &StreamPath,
        config: &PartialStreamConfig,
    ) -> CallResult {
        let (stream, provision) = match self.make_or_change_stream(path, config) {
            Ok(made) => made,
            Err(refused) => return self.refuse(refused).await,
        };
        let record = stream.record();
        self.settle(stream.metadata_ticket.get()).await?;
        Ok(Answer::Stream(record, provision))
    }

    fn make_or_change_stream(
        &self,
        path: &StreamPath,
        config: &PartialStreamConfig,
    ) -> Result<(Rc<Stream>, Provision), Refused> {
        self.check_open()?;
        self.check_basin_is_staying(&path.basin)?;
        let basin = self.basin_config(&path.basin)?;
        match self.find_stream(path) {
            Ok(stream) => {
                let config = config.resolve(&basin.default_stream_config);
                let provision = self.change_config(&stream, config)?;
                Ok((stream, provision))
            }
            Err(Refused { refusal: Refusal::StreamNotFound(_), .. }) => {
                self.check_room_to_create()?;
                Ok((self.add_stream(path, config, &basin, None), Provision::Created))
            }
            Err(refused) => Err(refused),
        }
    }

    /// Changes a stream's configuration; returns the whole of it.
    pub(super) async fn reconfigure_stream(
        &self,
        path: &StreamPath,
        patch: &StreamConfigPatch,
    ) -> Result<StreamConfig, Refusal> {
        let stream = match self.patch_stream(path, patch) {
            Ok(stream) => stream,
            Err(refused) => return self.refuse(refused).await,
        };
        let config = stream.record().config;
        self.settle(stream.metadata_ticket.get()).await?;
        Ok(config)
    }

    fn patch_stream(
        &self,
        path: &StreamPath,
        patch: &StreamConfigPatch,
    ) -> Result<Rc<Stream>, Refused> {
        self.check_open()?;
        self.check_basin_is_staying(&path.basin)?;
        let basin = self.basin_config(&path.basin)?;
        let stream = self.find_stream(path)?;
        let before = stream.record().config;
        let after = patch.apply_to_stream(&before, &basin.default_stream_config);
        self.change_config(&stream, after)?;
        Ok(stream)
    }

    /// Logs a stream's new configuration, unless it is the one that it has.
    fn change_config(
        &self,
        stream: &Rc<Stream>,
        config: StreamConfig,
    ) -> Result<Provision, Refusal> {
        let record = stream.record();
        if record.config == config {
            return Ok(Provision::Noop);
        }
        self.check_room_to_change()?;
        let (before, after) =
            (record.config.delete_on_empty_min_age_secs, config.delete_on_empty_min_age_secs);
        let since_us = match (before, after) {
            (_, 0) => None,
            (0, _) => Some(self.io.wall_us()),
            _ => record.delete_on_empty_since_us,
        };
        let mut record = StreamRecord { config, delete_on_empty_since_us: since_us, ..record };
        if record.config.retention != stream.retention() {
            // In the same entry as the new age: what the old one hid stays hidden.
            let hidden_before_ms = self.hide_expired(stream);
            record.hidden_before_ms = (hidden_before_ms > 0).then_some(hidden_before_ms);
        }
        self.change_stream(stream, record);
        Ok(Provision::Updated)
    }

    /// Logs what a stream is from now on. What is appended next is judged by it already.
    fn change_stream(&self, stream: &Rc<Stream>, record: StreamRecord) {
        let ticket = self.log_stream(&record, stream);
        self.catalog.borrow_mut().set_record(stream, record);
        stream.metadata_ticket.set(ticket);
        stream.last_ticket.set(ticket);
    }

    /// A stream's configuration.
    pub(super) async fn stream_config(&self, path: &StreamPath) -> Result<StreamConfig, Refusal> {
        match self.find_stream(path) {
            Ok(stream) => {
                let config = stream.record().config;
                self.settle(stream.metadata_ticket.get()).await?;
                Ok(config)
            }
            Err(refused) => self.refuse(refused).await,
        }
    }

    /// Marks a stream as being deleted and purges it; returns once both are durable.
    ///
    /// A name is looked up once, here: however long the log takes, what goes is the stream that
    /// bore it then.
    pub(super) async fn delete_stream(&self, path: &StreamPath) -> CallResult {
        self.check_open()?;
        match self.find_stream(path) {
            Ok(stream) => {
                self.check_room_to_delete(&stream)?;
                self.delete(&stream).await.map(|()| Answer::Done)
            }
            // Asked again while it goes on: the same answer, when it is durable.
            Err(Refused { refusal: Refusal::StreamDeletionPending(_), ticket }) => {
                self.settle(ticket).await.map(|()| Answer::Done)
            }
            Err(refused) => self.refuse(refused).await,
        }
    }

    /// Deletes a stream, and returns when that is durable.
    ///
    /// * Cancel: it is deleted all the same.
    pub async fn delete(&self, stream: &Rc<Stream>) -> Result<(), Refusal> {
        self.log_deletion(stream);
        self.settle(stream.last_ticket.get()).await
    }

    /// Logs that a stream is being deleted, then that it is gone. A crash may leave the mark
    /// alone, and a restart goes on from there.
    pub(super) fn log_deletion(&self, stream: &Rc<Stream>) {
        if !stream.is_deleting() {
            let record = StreamRecord { deleted_us: Some(self.io.wall_us()), ..stream.record() };
            self.change_stream(stream, record);
            stream.changed.notify();
        }
        self.log_stream_gone(stream);
    }

    /// Streams of a basin, sorted, as they are durably: what is not yet created or deleted so is
    /// not shown so.
    pub(super) fn list_streams(&self, basin: &BasinName, page: &Page) -> CallResult {
        let catalog = self.catalog.borrow();
        let durable = self.durable.reached();
        if catalog.basin(basin).is_none() {
            return Err(Refusal::BasinNotFound(basin.to_string()));
        }
        let streams = catalog.streams_from(basin, &page.prefix, &page.start_after);
        let shown = streams.filter(|s| s.created_ticket <= durable).take(page.limit);
        let records = shown.map(|stream| {
            let mut record = stream.record();
            record.deleted_us =
                record.deleted_us.filter(|_| stream.metadata_ticket.get() <= durable);
            record
        });
        Ok(Answer::Streams(records.collect()))
    }

    /// Deletes all streams of a basin that is being deleted; nothing when it is not, since then
    /// another call has finished and the name may be in use again.
    pub(super) async fn delete_streams_of(&self, basin: &BasinName) -> CallResult {
        let mut streams: Vec<Rc<Stream>> = {
            let catalog = self.catalog.borrow();
            if catalog.basin(basin).is_none_or(|basin| basin.deleted_us.is_none()) {
                return Ok(Answer::Done);
            }
            catalog.streams_from(basin, "", "").cloned().collect()
        };
        // On a full disk the others wait for the room that these give back.
        streams.sort_by_key(|stream| stream.first_needed_epoch().is_none());
        for some in streams.chunks(DELETIONS_AT_ONCE) {
            for stream in some {
                while !stream.is_deleting() && self.check_room_to_delete(stream).is_err() {
                    self.check_open()?;
                    self.io.sleep_us(ROOM_RETRY_US).await;
                }
                self.log_deletion(stream);
            }
            for stream in some {
                self.settle(stream.last_ticket.get()).await?;
            }
        }
        Ok(Answer::Done)
    }
}

#[cfg(test)]
mod tests;
