//! The files of a job.
//!
//! ```text
//! /           read-only
//! ├── input   read-only: the job's files, read from their sources
//! └── output  writable: files in memory, within the job's output limit
//! ```
//!
//! Nodes have numbers, so no path is ever followed but the program's own, name by name from an open folder; none
//! leads out of that folder. A file that is removed while it is open lives on until it is closed, and takes from
//! the output limit until then.

use std::{
    collections::BTreeMap,
    ops::Bound::{Excluded, Unbounded},
};

use phala_primitives::input::is_file_name;

use super::{
    super::{OutputBudget, bindings::wasi::filesystem::types::DescriptorType, source_failure},
    Done, ErrorCode, Failure,
};
use crate::{
    secret::{self, Buffer},
    source::{MAX_READ_BYTES, Piece, Reader},
};

/// The most files and folders at once.
const MAX_NODES: usize = 8192;

/// The longest path in one call, in bytes.
const MAX_PATH_BYTES: usize = 4096;

/// How many folders may lie in one another.
const MAX_DEPTH: usize = 32;

/// Names a file or folder for as long as the job runs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct NodeId(u64);

impl NodeId {
    pub(super) fn number(self) -> u64 {
        self.0
    }
}

struct Node {
    /// The folder that it is in, or was; the root is in itself.
    parent: NodeId,
    /// Whether it is no more in its folder.
    removed: bool,
    /// Handles that refer to it.
    handles: usize,
    content: Content,
}

enum Content {
    Folder { entries: BTreeMap<String, NodeId>, writable: bool },
    Input(Reader),
    Output(Buffer),
}

/// All files and folders of a job.
pub(crate) struct Tree {
    nodes: BTreeMap<NodeId, Node>,
    next: u64,
    output: NodeId,
    unusable_inputs: bool,
}

impl Tree {
    pub(super) const ROOT: NodeId = NodeId(0);

    /// The tree of a job with these input files.
    pub(in super::super) fn new(inputs: Vec<(String, Reader)>) -> Self {
        let mut tree = Self { nodes: BTreeMap::new(), next: 0, output: Self::ROOT, unusable_inputs: false };
        let folder = |writable| Content::Folder { entries: BTreeMap::new(), writable };
        tree.insert(Self::ROOT, "", folder(false));
        let input = tree.insert(Self::ROOT, "input", folder(false));
        tree.output = tree.insert(Self::ROOT, "output", folder(true));
        for (name, reader) in inputs {
            tree.unusable_inputs |= !is_file_name(&name) || tree.child(input, &name).is_some();
            tree.insert(input, &name, Content::Input(reader));
        }
        tree
    }

    pub(in super::super) fn has_unusable_inputs(&self) -> bool {
        self.unusable_inputs
    }

    /// The files under `/output`, by path, sorted by the names on it.
    pub(in super::super) fn into_output(mut self) -> Vec<(String, Vec<u8>)> {
        let mut files = Vec::new();
        self.collect(self.output, "", &mut files);
        files
    }

    fn collect(&mut self, folder: NodeId, path: &str, files: &mut Vec<(String, Vec<u8>)>) {
        // No deeper than `MAX_DEPTH`.
        for (name, node) in self.entries(folder).cloned().unwrap_or_default() {
            let path = if path.is_empty() { name } else { format!("{path}/{name}") };
            match self.nodes.get_mut(&node).map(|node| &mut node.content) {
                Some(Content::Output(data)) => files.push((path, secret::into_vec(std::mem::take(data)))),
                Some(Content::Folder { .. }) => self.collect(node, &path, files),
                _ => {}
            }
        }
    }

    fn insert(&mut self, parent: NodeId, name: &str, content: Content) -> NodeId {
        let id = NodeId(self.next);
        self.next += 1;
        self.nodes.insert(id, Node { parent, removed: false, handles: 0, content });
        if id != Self::ROOT
            && let Some(entries) = self.entries_mut(parent)
        {
            entries.insert(name.into(), id);
        }
        id
    }

    fn entries(&self, folder: NodeId) -> Option<&BTreeMap<String, NodeId>> {
        match &self.nodes.get(&folder)?.content {
            Content::Folder { entries, .. } => Some(entries),
            _ => None,
        }
    }

    fn entries_mut(&mut self, folder: NodeId) -> Option<&mut BTreeMap<String, NodeId>> {
        match &mut self.nodes.get_mut(&folder)?.content {
            Content::Folder { entries, .. } => Some(entries),
            _ => None,
        }
    }

    fn child(&self, folder: NodeId, name: &str) -> Option<NodeId> {
        self.entries(folder)?.get(name).copied()
    }

    pub(super) fn kind(&self, node: NodeId) -> DescriptorType {
        match self.nodes.get(&node).map(|node| &node.content) {
            Some(Content::Folder { .. }) => DescriptorType::Directory,
            Some(_) => DescriptorType::RegularFile,
            None => DescriptorType::Unknown,
        }
    }

    pub(in super::super) fn size(&self, node: NodeId) -> u64 {
        match self.nodes.get(&node).map(|node| &node.content) {
            Some(Content::Input(reader)) => reader.len(),
            Some(Content::Output(data)) => data.len() as u64,
            _ => 0,
        }
    }

    /// Whether a file may be written, or a folder changed.
    pub(super) fn is_writable(&self, node: NodeId) -> bool {
        match self.nodes.get(&node).map(|node| &node.content) {
            Some(Content::Folder { writable, .. }) => *writable,
            Some(Content::Output(_)) => true,
            _ => false,
        }
    }

    /// Notes one more handle.
    pub(super) fn open(&mut self, node: NodeId) {
        if let Some(node) = self.nodes.get_mut(&node) {
            node.handles += 1;
        }
    }

    /// Notes one handle less.
    pub(in super::super) fn close(&mut self, id: NodeId, budget: &mut OutputBudget) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.handles = node.handles.saturating_sub(1);
            self.forget_unreachable(id, budget);
        }
    }

    fn forget_unreachable(&mut self, id: NodeId, budget: &mut OutputBudget) {
        if self.nodes.get(&id).is_some_and(|node| node.removed && node.handles == 0) {
            budget.give_back(self.size(id));
            self.nodes.remove(&id);
        }
    }

    pub(in super::super) fn read(&mut self, node: NodeId, offset: u64, length: u64) -> Done<Piece> {
        match self.nodes.get_mut(&node).map(|node| &mut node.content) {
            Some(Content::Input(reader)) => {
                reader.read(offset, length).map_err(|error| Failure::Stop(source_failure(error)))
            }
            Some(Content::Output(data)) => {
                let rest = usize::try_from(offset).ok().and_then(|offset| data.get(offset..)).unwrap_or_default();
                let count = length.min(MAX_READ_BYTES).min(rest.len() as u64) as usize;
                Ok(Piece { bytes: rest.get(..count).unwrap_or_default().to_vec(), fuel: 0 })
            }
            _ => Err(ErrorCode::IsDirectory.into()),
        }
    }

    /// Writes all of `bytes`, or ends the job.
    pub(in super::super) fn write(
        &mut self,
        node: NodeId,
        offset: u64,
        bytes: &[u8],
        budget: &mut OutputBudget,
    ) -> Done<()> {
        let end = offset.saturating_add(bytes.len() as u64);
        if end > self.size(node) && !bytes.is_empty() {
            self.set_size(node, end, budget)?;
        }
        match self.nodes.get_mut(&node).map(|node| &mut node.content) {
            Some(Content::Output(data)) => {
                // Within the size that was just set.
                if let Some(to) = data.get_mut(offset as usize..).and_then(|rest| rest.get_mut(..bytes.len())) {
                    to.copy_from_slice(bytes);
                }
                Ok(())
            }
            Some(Content::Input(_)) => Err(ErrorCode::ReadOnly.into()),
            _ => Err(ErrorCode::IsDirectory.into()),
        }
    }

    /// Cuts a file, or fills it with zeros.
    pub(super) fn set_size(&mut self, node: NodeId, size: u64, budget: &mut OutputBudget) -> Done<()> {
        match self.nodes.get_mut(&node).map(|node| &mut node.content) {
            Some(Content::Output(data)) => {
                let old = data.len() as u64;
                if size > old {
                    budget.take(size - old)?;
                } else {
                    budget.give_back(old - size);
                }
                // Within the budget, so within memory.
                secret::resize(data, size as usize);
                Ok(())
            }
            Some(Content::Input(_)) => Err(ErrorCode::ReadOnly.into()),
            _ => Err(ErrorCode::IsDirectory.into()),
        }
    }

    /// The entry that follows `last` by name.
    pub(super) fn entry_after(&self, folder: NodeId, last: Option<&str>) -> Option<(String, DescriptorType)> {
        let entries = self.entries(folder)?;
        let (name, node) = match last {
            Some(last) => entries.range::<str, _>((Excluded(last), Unbounded)).next()?,
            None => entries.iter().next()?,
        };
        Some((name.clone(), self.kind(*node)))
    }

    /// Follows a path from `base`, and not out of it.
    pub(super) fn find(&self, base: NodeId, path: &str) -> Result<NodeId, ErrorCode> {
        check_path(path)?;
        let mut node = base;
        for name in path.split('/').filter(|name| !name.is_empty() && *name != ".") {
            if self.kind(node) != DescriptorType::Directory {
                return Err(ErrorCode::NotDirectory);
            }
            node = if name == ".." {
                if node == base {
                    return Err(ErrorCode::NotPermitted);
                }
                self.nodes.get(&node).map_or(Tree::ROOT, |node| node.parent)
            } else {
                if name.len() > 255 {
                    return Err(ErrorCode::NameTooLong);
                }
                self.child(node, name).ok_or(ErrorCode::NoEntry)?
            };
        }
        if path.ends_with('/') && self.kind(node) != DescriptorType::Directory {
            return Err(ErrorCode::NotDirectory);
        }
        Ok(node)
    }

    /// The folder that a path's last name is in, and that name.
    fn place<'p>(&self, base: NodeId, path: &'p str) -> Result<(NodeId, &'p str), ErrorCode> {
        check_path(path)?;
        let path = path.trim_end_matches('/');
        let (folder, name) = path.rsplit_once('/').unwrap_or((".", path));
        let folder = self.find(base, if folder.is_empty() { "." } else { folder })?;
        if self.kind(folder) != DescriptorType::Directory {
            return Err(ErrorCode::NotDirectory);
        }
        match name {
            "" | "." | ".." => Err(ErrorCode::Invalid),
            _ if name.len() > 255 => Err(ErrorCode::NameTooLong),
            _ => Ok((folder, name)),
        }
    }

    /// A place for something new.
    fn free_place<'p>(&self, base: NodeId, path: &'p str) -> Result<(NodeId, &'p str), ErrorCode> {
        let (folder, name) = self.place(base, path)?;
        if self.child(folder, name).is_some() {
            return Err(ErrorCode::Exist);
        }
        if !is_file_name(name) {
            return Err(ErrorCode::Invalid);
        }
        let folder_removed = self.nodes.get(&folder).is_none_or(|node| node.removed);
        if folder_removed {
            return Err(ErrorCode::NoEntry);
        }
        if !self.is_writable(folder) {
            return Err(ErrorCode::ReadOnly);
        }
        if self.nodes.len() >= MAX_NODES {
            return Err(ErrorCode::InsufficientSpace);
        }
        Ok((folder, name))
    }

    pub(super) fn create_file(&mut self, base: NodeId, path: &str) -> Result<NodeId, ErrorCode> {
        if path.ends_with('/') {
            return Err(ErrorCode::IsDirectory);
        }
        let (folder, name) = self.free_place(base, path)?;
        Ok(self.insert(folder, name, Content::Output(Buffer::default())))
    }

    pub(super) fn create_directory(&mut self, base: NodeId, path: &str) -> Result<NodeId, ErrorCode> {
        if self.find(base, path).is_ok() {
            return Err(ErrorCode::Exist);
        }
        let (folder, name) = self.free_place(base, path)?;
        if self.depth(folder) >= MAX_DEPTH {
            return Err(ErrorCode::NameTooLong);
        }
        Ok(self.insert(folder, name, Content::Folder { entries: BTreeMap::new(), writable: true }))
    }

    /// How many folders lie above.
    fn depth(&self, mut node: NodeId) -> usize {
        let mut depth = 0;
        while node != Self::ROOT {
            node = self.nodes.get(&node).map_or(Self::ROOT, |node| node.parent);
            depth += 1;
        }
        depth
    }

    /// How many folders lie in one another below a node, with itself.
    fn height(&self, node: NodeId) -> usize {
        let entries = self.entries(node);
        entries.map_or(0, |entries| 1 + entries.values().map(|child| self.height(*child)).max().unwrap_or(0))
    }

    /// What is at a place in a folder that may be changed.
    fn removable<'p>(&self, base: NodeId, path: &'p str) -> Result<(NodeId, &'p str, NodeId), ErrorCode> {
        let (folder, name) = self.place(base, path)?;
        let node = self.child(folder, name).ok_or(ErrorCode::NoEntry)?;
        if !self.is_writable(folder) {
            return Err(ErrorCode::ReadOnly);
        }
        Ok((folder, name, node))
    }

    fn take_out(&mut self, folder: NodeId, name: &str) {
        if let Some(entries) = self.entries_mut(folder) {
            entries.remove(name);
        }
    }

    fn remove(&mut self, folder: NodeId, name: &str, id: NodeId, budget: &mut OutputBudget) {
        self.take_out(folder, name);
        if let Some(node) = self.nodes.get_mut(&id) {
            node.removed = true;
        }
        self.forget_unreachable(id, budget);
    }

    pub(super) fn unlink(&mut self, base: NodeId, path: &str, budget: &mut OutputBudget) -> Result<(), ErrorCode> {
        let (folder, name, node) = self.removable(base, path)?;
        if self.kind(node) == DescriptorType::Directory {
            return Err(ErrorCode::IsDirectory);
        }
        if path.ends_with('/') {
            return Err(ErrorCode::NotDirectory);
        }
        self.remove(folder, name, node, budget);
        Ok(())
    }

    pub(super) fn remove_directory(&mut self, base: NodeId, path: &str) -> Result<(), ErrorCode> {
        let (folder, name, node) = self.removable(base, path)?;
        match self.entries(node) {
            None => Err(ErrorCode::NotDirectory),
            Some(entries) if !entries.is_empty() => Err(ErrorCode::NotEmpty),
            Some(_) => {
                // A folder takes nothing from any budget.
                self.remove(folder, name, node, &mut OutputBudget { left: 0 });
                Ok(())
            }
        }
    }

    pub(super) fn rename(
        &mut self,
        (old_base, old_path): (NodeId, &str),
        (new_base, new_path): (NodeId, &str),
        budget: &mut OutputBudget,
    ) -> Result<(), ErrorCode> {
        let (old_folder, old_name, node) = self.removable(old_base, old_path)?;
        let is_folder = self.kind(node) == DescriptorType::Directory;
        if !is_folder && (old_path.ends_with('/') || new_path.ends_with('/')) {
            return Err(ErrorCode::NotDirectory);
        }
        let (new_folder, new_name) = match self.free_place(new_base, new_path) {
            Err(ErrorCode::Exist) => {
                let (folder, name, target) = self.removable(new_base, new_path)?;
                if target == node {
                    return Ok(());
                }
                match (is_folder, self.entries(target)) {
                    (true, None) => return Err(ErrorCode::NotDirectory),
                    (false, Some(_)) => return Err(ErrorCode::IsDirectory),
                    (true, Some(entries)) if !entries.is_empty() => return Err(ErrorCode::NotEmpty),
                    _ => {}
                }
                (folder, name)
            }
            place => place?,
        };
        if is_folder {
            let mut above = new_folder;
            while above != Self::ROOT {
                if above == node {
                    return Err(ErrorCode::Invalid);
                }
                above = self.nodes.get(&above).map_or(Self::ROOT, |node| node.parent);
            }
            if self.depth(new_folder) + self.height(node) > MAX_DEPTH {
                return Err(ErrorCode::NameTooLong);
            }
        }
        if let Some(target) = self.child(new_folder, new_name) {
            self.remove(new_folder, new_name, target, budget);
        }
        self.take_out(old_folder, old_name);
        if let Some(entries) = self.entries_mut(new_folder) {
            entries.insert(new_name.into(), node);
        }
        if let Some(node) = self.nodes.get_mut(&node) {
            node.parent = new_folder;
        }
        Ok(())
    }
}

fn check_path(path: &str) -> Result<(), ErrorCode> {
    match path {
        "" => Err(ErrorCode::NoEntry),
        _ if path.starts_with('/') => Err(ErrorCode::NotPermitted),
        _ if path.len() > MAX_PATH_BYTES => Err(ErrorCode::NameTooLong),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> (Tree, OutputBudget) {
        let input = Reader::new(Box::new(b"data".to_vec()), true);
        (Tree::new(vec![("a".into(), input)]), OutputBudget { left: 100 })
    }

    fn write(tree: &mut Tree, budget: &mut OutputBudget, path: &str, data: &[u8]) -> NodeId {
        let node = tree.create_file(Tree::ROOT, path).unwrap();
        assert!(tree.write(node, 0, data, budget).is_ok());
        node
    }

    #[test]
    fn paths_stay_within_their_folder() {
        let (mut tree, _) = tree();
        let output = tree.find(Tree::ROOT, "output").unwrap();
        assert_eq!(tree.find(Tree::ROOT, "./output//../input/a"), tree.find(Tree::ROOT, "input/a"));
        tree.create_directory(output, "sub").unwrap();
        for path in ["..", "../input/a", "sub/../..", "sub/../../output"] {
            assert_eq!(tree.find(output, path), Err(ErrorCode::NotPermitted), "{path}");
        }
        assert_eq!(tree.find(Tree::ROOT, "/input/a"), Err(ErrorCode::NotPermitted));
        assert_eq!(tree.find(Tree::ROOT, "input/a/.."), Err(ErrorCode::NotDirectory));
        assert_eq!(tree.find(Tree::ROOT, "input/a/"), Err(ErrorCode::NotDirectory));
        assert_eq!(tree.find(Tree::ROOT, ""), Err(ErrorCode::NoEntry));
    }

    #[test]
    fn only_the_output_folder_changes() {
        let (mut tree, mut budget) = tree();
        assert_eq!(tree.create_file(Tree::ROOT, "x"), Err(ErrorCode::ReadOnly));
        assert_eq!(tree.create_file(Tree::ROOT, "input/x"), Err(ErrorCode::ReadOnly));
        assert_eq!(tree.unlink(Tree::ROOT, "input/a", &mut budget), Err(ErrorCode::ReadOnly));
        assert_eq!(tree.remove_directory(Tree::ROOT, "output"), Err(ErrorCode::ReadOnly));
        let (from, to) = ((Tree::ROOT, "input/a"), (Tree::ROOT, "output/a"));
        assert_eq!(tree.rename(from, to, &mut budget), Err(ErrorCode::ReadOnly));
        for name in ["output/a\\b", "output/a\0b"] {
            assert_eq!(tree.create_file(Tree::ROOT, name), Err(ErrorCode::Invalid));
        }
    }

    #[test]
    fn output_counts_as_long_as_it_exists() {
        let (mut tree, mut budget) = tree();
        let node = write(&mut tree, &mut budget, "output/f", &[1; 60]);
        assert!(tree.write(node, 41, &[2; 60], &mut budget).is_err(), "beyond the limit");
        tree.open(node);
        tree.unlink(Tree::ROOT, "output/f", &mut budget).unwrap();
        assert_eq!((tree.size(node), budget.left), (60, 40), "open, though removed");
        tree.close(node, &mut budget);
        assert_eq!(budget.left, 100);
        assert!(tree.into_output().is_empty());
    }

    #[test]
    fn renaming_replaces_files_and_moves_folders() {
        let (mut tree, mut budget) = tree();
        tree.create_directory(Tree::ROOT, "output/d").unwrap();
        tree.create_directory(Tree::ROOT, "output/d/e").unwrap();
        write(&mut tree, &mut budget, "output/d/one", b"one");
        write(&mut tree, &mut budget, "output/two", b"second");
        let mut rename = |tree: &mut Tree, from, to| tree.rename((Tree::ROOT, from), (Tree::ROOT, to), &mut budget);
        assert_eq!(rename(&mut tree, "output/d", "output/d/e/f"), Err(ErrorCode::Invalid), "into itself");
        assert_eq!(rename(&mut tree, "output/two", "output/d"), Err(ErrorCode::IsDirectory));
        rename(&mut tree, "output/two", "output/d/one").unwrap();
        rename(&mut tree, "output/d", "output/g").unwrap();
        assert_eq!(budget.left, 94);
        assert_eq!(tree.remove_directory(Tree::ROOT, "output/g"), Err(ErrorCode::NotEmpty));
        assert_eq!(tree.into_output(), [("g/one".to_owned(), b"second".to_vec())]);
    }

    #[test]
    fn nodes_and_depth_are_bounded() {
        let (mut tree, _) = tree();
        let mut path = "output".to_owned();
        let deepest = (0..).find(|_| {
            path.push_str("/d");
            tree.create_directory(Tree::ROOT, &path).is_err()
        });
        assert!(deepest.unwrap() < MAX_DEPTH);
        let created = (0..).take_while(|i| tree.create_file(Tree::ROOT, &format!("output/{i}")).is_ok()).count();
        assert!(created < MAX_NODES);
    }
}
