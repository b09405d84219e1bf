//! A disk on which an operation can be held until its node is killed: a crash at a chosen step.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use eigenshift_env::Disk;
use eigenshift_env::disk::{Lock, RandomAccess, Usage};
use parking_lot::{Condvar, Mutex};
use tokio::sync::watch;

/// What a node does with a bundle that it has not got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Its bytes are here and checked, and about to be kept.
    Fetched,
    /// They are kept, and about to be read for checking and compiling.
    Kept,
    /// It is compiled, and about to be tried out.
    Compiled,
}

#[derive(Default)]
struct Nodes {
    /// Steps that are held, by the node's directory.
    held: BTreeSet<(PathBuf, Step)>,
    /// Which of them were reached.
    reached: BTreeSet<(PathBuf, Step)>,
    /// How often each node was killed.
    lives: BTreeMap<PathBuf, u32>,
}

#[derive(Default)]
struct Shared {
    nodes: Mutex<Nodes>,
    changed: Condvar,
    looks: watch::Sender<()>,
}

/// The file system, for nodes whose data directories lie in `root`.
#[derive(Clone)]
pub struct Gates {
    root: PathBuf,
    disk: Arc<dyn Disk>,
    shared: Arc<Shared>,
    /// Counts the files that are open, by what they hold on to.
    open: Arc<Mutex<BTreeMap<PathBuf, std::sync::Weak<()>>>>,
}

fn killed() -> io::Error {
    io::Error::other("this node was killed")
}

impl Gates {
    pub fn new(disk: Arc<dyn Disk>, root: &Path) -> Self {
        Self { root: root.to_owned(), disk, shared: Arc::default(), open: Arc::default() }
    }

    /// Holds a node's next such step.
    pub fn hold(&self, node: &Path, step: Step) {
        self.shared.nodes.lock().held.insert((node.to_owned(), step));
    }

    /// Waits until the node is there.
    pub async fn reached(&self, node: &Path, step: Step) {
        let mut looks = self.shared.looks.subscribe();
        while !self.shared.nodes.lock().reached.contains(&(node.to_owned(), step)) {
            looks.changed().await.unwrap();
        }
    }

    /// Lets what is held go on.
    pub fn release(&self, node: &Path, step: Step) {
        let mut nodes = self.shared.nodes.lock();
        nodes.held.remove(&(node.to_owned(), step));
        nodes.reached.remove(&(node.to_owned(), step));
        self.shared.changed.notify_all();
    }

    /// Whatever runs of the node reads and writes nothing any more.
    pub fn kill(&self, node: &Path) {
        let mut nodes = self.shared.nodes.lock();
        *nodes.lives.entry(node.to_owned()).or_default() += 1;
        nodes.held.retain(|(of, _)| of != node);
        nodes.reached.retain(|(of, _)| of != node);
        self.shared.changed.notify_all();
    }

    /// Whether nothing that was killed has files open.
    pub fn closed(&self, node: &Path) -> bool {
        self.open.lock().iter().all(|(path, open)| !path.starts_with(node) || open.strong_count() == 0)
    }

    fn node(&self, path: &Path) -> PathBuf {
        let inner = path.strip_prefix(&self.root).unwrap_or(path);
        self.root.join(inner.components().next().map_or(Path::new(""), |first| Path::new(first.as_os_str())))
    }

    /// Waits while the step is held; an error when the node is killed meanwhile.
    fn pass(&self, path: &Path, step: Step) -> io::Result<()> {
        let node = self.node(path);
        let key = (node.clone(), step);
        let mut nodes = self.shared.nodes.lock();
        let life = nodes.lives.get(&node).copied();
        while nodes.held.contains(&key) {
            nodes.reached.insert(key.clone());
            self.shared.looks.send_replace(());
            self.shared.changed.wait(&mut nodes);
        }
        if nodes.lives.get(&node).copied() == life { Ok(()) } else { Err(killed()) }
    }
}

fn is_bundle(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "bundle")
}

fn is_code(path: &Path) -> bool {
    path.parent().is_some_and(|parent| parent.ends_with("plugins")) && path.extension().is_some()
}

impl Disk for Gates {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.disk.create_dir_all(path)
    }

    fn is_private(&self, directory: &Path) -> io::Result<bool> {
        self.disk.is_private(directory)
    }

    fn read(&self, path: &Path, max: u64) -> io::Result<Option<Vec<u8>>> {
        if is_bundle(path) {
            self.pass(path, Step::Kept)?;
        }
        self.disk.read(path, max)
    }

    fn write_atomic(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        if is_bundle(path) {
            self.pass(path, Step::Fetched)?;
        } else if is_code(path) {
            self.pass(path, Step::Compiled)?;
        }
        self.disk.write_atomic(path, bytes)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn touch(&self, path: &Path, unix_ms: u64) -> io::Result<()> {
        self.disk.touch(path, unix_ms)
    }

    fn usage(&self, path: &Path) -> io::Result<Option<Usage>> {
        self.disk.usage(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        self.disk.list(path)
    }

    fn lock(&self, directory: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        self.disk.lock(directory)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn RandomAccess>> {
        let file = self.disk.open(path)?;
        let node = self.node(path);
        let life = self.shared.nodes.lock().lives.get(&node).copied();
        let open = Arc::new(());
        self.open.lock().insert(path.to_owned(), Arc::downgrade(&open));
        Ok(Box::new(Mortal { file, node, life, shared: Arc::clone(&self.shared), _open: open }))
    }
}

/// An open file of one life of a node.
struct Mortal {
    file: Box<dyn RandomAccess>,
    node: PathBuf,
    life: Option<u32>,
    shared: Arc<Shared>,
    _open: Arc<()>,
}

impl std::fmt::Debug for Mortal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.file.fmt(f)
    }
}

impl Mortal {
    fn alive(&self) -> io::Result<&dyn RandomAccess> {
        let lives = self.shared.nodes.lock().lives.get(&self.node).copied();
        if lives == self.life { Ok(self.file.as_ref()) } else { Err(killed()) }
    }
}

impl RandomAccess for Mortal {
    fn len(&self) -> io::Result<u64> {
        self.alive()?.len()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.alive()?.read_at(offset, buffer)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.alive()?.write_at(offset, bytes)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.alive()?.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.alive()?.sync()
    }
}
