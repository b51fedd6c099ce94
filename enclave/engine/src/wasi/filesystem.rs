//! `wasi:filesystem`: one tree in memory, see [`Tree`].
//!
//! The only preopened folder is `/`, so absolute paths work as well as relative ones. There are no links and no times but the
//! job's own; what asks for them is refused or ignored.

mod tree;

use wasmtime::{
    Error, Result,
    component::{Resource, ResourceTableError},
};

pub use self::tree::NodeId;
pub(super) use self::tree::Tree;
use super::{
    Guest,
    bindings::wasi::{
        clocks::wall_clock::Datetime,
        filesystem::{
            preopens,
            types::{
                self, Advice, DescriptorFlags, DescriptorStat, DescriptorType, DirectoryEntry, ErrorCode,
                MetadataHashValue, NewTimestamp, OpenFlags, PathFlags,
            },
        },
    },
    io::{InputStream, OutputStream, StreamError},
};
use crate::source::Piece;

/// An open file or folder.
#[derive(Clone, Copy)]
pub struct Descriptor {
    node: NodeId,
    flags: DescriptorFlags,
}

/// A folder being listed.
pub struct Entries {
    node: NodeId,
    /// The name that came last.
    last: Option<String>,
}

/// `error-code`, or the end of the program.
pub enum Failure {
    Code(ErrorCode),
    Stop(Error),
}

impl From<ErrorCode> for Failure {
    fn from(code: ErrorCode) -> Self {
        Self::Code(code)
    }
}

impl From<ResourceTableError> for Failure {
    fn from(error: ResourceTableError) -> Self {
        Self::Stop(error.into())
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Stop(error)
    }
}

type Done<T> = std::result::Result<T, Failure>;

impl Guest {
    fn descriptor(&self, descriptor: &Resource<Descriptor>) -> Done<Descriptor> {
        Ok(*self.table.get(descriptor)?)
    }

    /// An open file that may be written.
    fn writable(&self, descriptor: &Resource<Descriptor>) -> Done<NodeId> {
        let Descriptor { node, flags } = self.descriptor(descriptor)?;
        if self.files.kind(node) == DescriptorType::Directory {
            return Err(ErrorCode::IsDirectory.into());
        }
        if !flags.contains(DescriptorFlags::WRITE) {
            return Err(ErrorCode::BadDescriptor.into());
        }
        Ok(node)
    }

    /// An open file that may be read.
    fn readable(&self, descriptor: &Resource<Descriptor>) -> Done<NodeId> {
        let Descriptor { node, flags } = self.descriptor(descriptor)?;
        if self.files.kind(node) == DescriptorType::Directory {
            return Err(ErrorCode::IsDirectory.into());
        }
        if flags.contains(DescriptorFlags::WRITE) && !flags.contains(DescriptorFlags::READ) {
            return Err(ErrorCode::BadDescriptor.into());
        }
        Ok(node)
    }

    /// The folder that a call with a path begins at.
    fn base(&mut self, descriptor: &Resource<Descriptor>, path: &str) -> Done<NodeId> {
        self.charge(path.len() as u64);
        let Descriptor { node, .. } = self.descriptor(descriptor)?;
        match self.files.kind(node) {
            DescriptorType::Directory => Ok(node),
            _ => Err(ErrorCode::NotDirectory.into()),
        }
    }

    fn stat_node(&self, node: NodeId) -> DescriptorStat {
        let now: Option<Datetime> = Some(self.clock.wall());
        DescriptorStat {
            type_: self.files.kind(node),
            link_count: 1,
            size: self.files.size(node),
            data_access_timestamp: now,
            data_modification_timestamp: now,
            status_change_timestamp: now,
        }
    }

    fn open_node(&mut self, node: NodeId, flags: DescriptorFlags) -> Done<Resource<Descriptor>> {
        let resource = self.table.push(Descriptor { node, flags })?;
        self.files.open(node);
        Ok(resource)
    }
}

/// What tells files apart, and stays the same as long as one exists.
fn metadata_hash(node: NodeId) -> MetadataHashValue {
    MetadataHashValue { lower: node.number(), upper: 0x7068_616c_615f_6673 }
}

impl preopens::Host for Guest {
    fn get_directories(&mut self) -> Result<Vec<(Resource<Descriptor>, String)>> {
        self.charge(0);
        let flags = DescriptorFlags::READ | DescriptorFlags::MUTATE_DIRECTORY;
        let root = self.table.push(Descriptor { node: Tree::ROOT, flags })?;
        self.files.open(Tree::ROOT);
        Ok(vec![(root, "/".into())])
    }
}

impl types::Host for Guest {
    fn convert_error_code(&mut self, failure: Failure) -> Result<ErrorCode> {
        match failure {
            Failure::Code(code) => Ok(code),
            Failure::Stop(error) => Err(error),
        }
    }

    fn filesystem_error_code(&mut self, error: Resource<StreamError>) -> Result<Option<ErrorCode>> {
        self.charge(0);
        Ok(Some(self.table.get(&error)?.0))
    }
}

impl types::HostDirectoryEntryStream for Guest {
    fn read_directory_entry(&mut self, stream: Resource<Entries>) -> Done<Option<DirectoryEntry>> {
        self.charge(0);
        let Entries { node, last } = self.table.get_mut(&stream)?;
        let Some((name, type_)) = self.files.entry_after(*node, last.as_deref()) else { return Ok(None) };
        *last = Some(name.clone());
        self.charge(name.len() as u64);
        Ok(Some(DirectoryEntry { type_, name }))
    }

    fn drop(&mut self, stream: Resource<Entries>) -> Result<()> {
        let Entries { node, .. } = self.table.delete(stream)?;
        self.files.close(node, &mut self.output);
        Ok(())
    }
}

impl types::HostDescriptor for Guest {
    fn read_via_stream(&mut self, file: Resource<Descriptor>, offset: u64) -> Done<Resource<InputStream>> {
        self.charge(0);
        let node = self.readable(&file)?;
        let stream = self.table.push(InputStream::File { node, position: offset })?;
        self.files.open(node);
        Ok(stream)
    }

    fn write_via_stream(&mut self, file: Resource<Descriptor>, offset: u64) -> Done<Resource<OutputStream>> {
        self.charge(0);
        let node = self.writable(&file)?;
        let stream = self.table.push(OutputStream::File { node, position: Some(offset) })?;
        self.files.open(node);
        Ok(stream)
    }

    fn append_via_stream(&mut self, file: Resource<Descriptor>) -> Done<Resource<OutputStream>> {
        self.charge(0);
        let node = self.writable(&file)?;
        let stream = self.table.push(OutputStream::File { node, position: None })?;
        self.files.open(node);
        Ok(stream)
    }

    fn advise(&mut self, file: Resource<Descriptor>, _offset: u64, _length: u64, _advice: Advice) -> Done<()> {
        self.sync(file)
    }

    fn sync_data(&mut self, file: Resource<Descriptor>) -> Done<()> {
        self.sync(file)
    }

    fn sync(&mut self, file: Resource<Descriptor>) -> Done<()> {
        self.charge(0);
        self.descriptor(&file)?;
        Ok(())
    }

    fn get_flags(&mut self, file: Resource<Descriptor>) -> Done<DescriptorFlags> {
        self.charge(0);
        Ok(self.descriptor(&file)?.flags)
    }

    fn get_type(&mut self, file: Resource<Descriptor>) -> Done<DescriptorType> {
        self.charge(0);
        Ok(self.files.kind(self.descriptor(&file)?.node))
    }

    fn set_size(&mut self, file: Resource<Descriptor>, size: u64) -> Done<()> {
        let node = self.writable(&file)?;
        self.charge(size.saturating_sub(self.files.size(node)));
        self.files.set_size(node, size, &mut self.output)
    }

    fn set_times(&mut self, file: Resource<Descriptor>, _accessed: NewTimestamp, _modified: NewTimestamp) -> Done<()> {
        self.sync(file)
    }

    fn read(&mut self, file: Resource<Descriptor>, length: u64, offset: u64) -> Done<(Vec<u8>, bool)> {
        let node = self.readable(&file)?;
        let Piece { bytes, fuel } = self.files.read(node, offset, length)?;
        self.charge(fuel + bytes.len() as u64);
        let end = offset.saturating_add(bytes.len() as u64) >= self.files.size(node);
        Ok((bytes, end))
    }

    fn write(&mut self, file: Resource<Descriptor>, buffer: Vec<u8>, offset: u64) -> Done<u64> {
        self.charge(buffer.len() as u64);
        let node = self.writable(&file)?;
        self.files.write(node, offset, &buffer, &mut self.output)?;
        Ok(buffer.len() as u64)
    }

    fn read_directory(&mut self, folder: Resource<Descriptor>) -> Done<Resource<Entries>> {
        let node = self.base(&folder, "")?;
        let stream = self.table.push(Entries { node, last: None })?;
        self.files.open(node);
        Ok(stream)
    }

    fn create_directory_at(&mut self, folder: Resource<Descriptor>, path: String) -> Done<()> {
        let base = self.base(&folder, &path)?;
        self.files.create_directory(base, &path)?;
        Ok(())
    }

    fn stat(&mut self, file: Resource<Descriptor>) -> Done<DescriptorStat> {
        self.charge(0);
        Ok(self.stat_node(self.descriptor(&file)?.node))
    }

    fn stat_at(&mut self, folder: Resource<Descriptor>, _: PathFlags, path: String) -> Done<DescriptorStat> {
        let base = self.base(&folder, &path)?;
        Ok(self.stat_node(self.files.find(base, &path)?))
    }

    fn set_times_at(
        &mut self,
        folder: Resource<Descriptor>,
        _: PathFlags,
        path: String,
        _accessed: NewTimestamp,
        _modified: NewTimestamp,
    ) -> Done<()> {
        let base = self.base(&folder, &path)?;
        self.files.find(base, &path)?;
        Ok(())
    }

    fn link_at(
        &mut self,
        folder: Resource<Descriptor>,
        _: PathFlags,
        old_path: String,
        _new_folder: Resource<Descriptor>,
        _new_path: String,
    ) -> Done<()> {
        self.base(&folder, &old_path)?;
        Err(ErrorCode::Unsupported.into())
    }

    fn open_at(
        &mut self,
        folder: Resource<Descriptor>,
        _: PathFlags,
        path: String,
        open_flags: OpenFlags,
        flags: DescriptorFlags,
    ) -> Done<Resource<Descriptor>> {
        let base = self.base(&folder, &path)?;
        let write = flags.contains(DescriptorFlags::WRITE) || open_flags.contains(OpenFlags::TRUNCATE);
        let node = match self.files.find(base, &path) {
            Ok(_) if open_flags.contains(OpenFlags::CREATE | OpenFlags::EXCLUSIVE) => {
                return Err(ErrorCode::Exist.into());
            }
            Ok(node) => node,
            Err(ErrorCode::NoEntry) if open_flags.contains(OpenFlags::CREATE) => {
                if open_flags.contains(OpenFlags::DIRECTORY) {
                    return Err(ErrorCode::Invalid.into());
                }
                self.files.create_file(base, &path)?
            }
            Err(code) => return Err(code.into()),
        };
        let directory = self.files.kind(node) == DescriptorType::Directory;
        if directory {
            if write {
                return Err(ErrorCode::IsDirectory.into());
            }
            let mutate = self.files.is_writable(node);
            let flags = DescriptorFlags::READ | (flags & DescriptorFlags::MUTATE_DIRECTORY);
            return self.open_node(node, if mutate { flags | DescriptorFlags::MUTATE_DIRECTORY } else { flags });
        }
        if open_flags.contains(OpenFlags::DIRECTORY) {
            return Err(ErrorCode::NotDirectory.into());
        }
        if write && !self.files.is_writable(node) {
            return Err(ErrorCode::ReadOnly.into());
        }
        if open_flags.contains(OpenFlags::TRUNCATE) {
            self.files.set_size(node, 0, &mut self.output)?;
        }
        self.open_node(node, flags & (DescriptorFlags::READ | DescriptorFlags::WRITE))
    }

    fn readlink_at(&mut self, folder: Resource<Descriptor>, path: String) -> Done<String> {
        let base = self.base(&folder, &path)?;
        self.files.find(base, &path)?;
        // It exists, and is no link.
        Err(ErrorCode::Invalid.into())
    }

    fn remove_directory_at(&mut self, folder: Resource<Descriptor>, path: String) -> Done<()> {
        let base = self.base(&folder, &path)?;
        Ok(self.files.remove_directory(base, &path)?)
    }

    fn rename_at(
        &mut self,
        folder: Resource<Descriptor>,
        old_path: String,
        new_folder: Resource<Descriptor>,
        new_path: String,
    ) -> Done<()> {
        let old_base = self.base(&folder, &old_path)?;
        let new_base = self.base(&new_folder, &new_path)?;
        Ok(self.files.rename((old_base, &old_path), (new_base, &new_path), &mut self.output)?)
    }

    fn symlink_at(&mut self, folder: Resource<Descriptor>, _old_path: String, new_path: String) -> Done<()> {
        self.base(&folder, &new_path)?;
        Err(ErrorCode::Unsupported.into())
    }

    fn unlink_file_at(&mut self, folder: Resource<Descriptor>, path: String) -> Done<()> {
        let base = self.base(&folder, &path)?;
        Ok(self.files.unlink(base, &path, &mut self.output)?)
    }

    fn is_same_object(&mut self, one: Resource<Descriptor>, other: Resource<Descriptor>) -> Result<bool> {
        self.charge(0);
        Ok(self.table.get(&one)?.node == self.table.get(&other)?.node)
    }

    fn metadata_hash(&mut self, file: Resource<Descriptor>) -> Done<MetadataHashValue> {
        self.charge(0);
        Ok(metadata_hash(self.descriptor(&file)?.node))
    }

    fn metadata_hash_at(
        &mut self,
        folder: Resource<Descriptor>,
        _: PathFlags,
        path: String,
    ) -> Done<MetadataHashValue> {
        let base = self.base(&folder, &path)?;
        Ok(metadata_hash(self.files.find(base, &path)?))
    }

    fn drop(&mut self, descriptor: Resource<Descriptor>) -> Result<()> {
        let Descriptor { node, .. } = self.table.delete(descriptor)?;
        self.files.close(node, &mut self.output);
        Ok(())
    }
}
