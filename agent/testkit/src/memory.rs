//! Buffers to lend to the agent.

use nrd_agent::Memory;
use nrd_agent::agent::{JOURNAL_RECORDS, MIN_SCRATCH};
use nrd_agent::log::Entry;
use nrd_hal::layout::MAX_SECTORS;

/// Owned buffers that an agent borrows for one boot.
///
/// ```
/// use nrd_agent::Agent;
/// use nrd_agent_testkit::{StubService, TestMemory, TestPlatform};
///
/// let service = StubService::new(1);
/// let device = TestPlatform::builder().build(&service);
/// // Room for 20 values of at most 200 bytes.
/// let mut memory = TestMemory::sized(20, 200);
/// assert!(Agent::new(device, service.config(), memory.lend()).is_ok());
/// ```
pub struct TestMemory {
    journal_table: Vec<u32>,
    journal_index: Vec<Entry>,
    vault_table: Vec<u32>,
    vault_index: Vec<Entry>,
    scratch: Vec<u8>,
}

impl Default for TestMemory {
    /// Room for 100 values of at most 1 KiB.
    fn default() -> Self {
        TestMemory::sized(100, 1024)
    }
}

impl TestMemory {
    /// Room for `values` cached values of at most `longest` bytes each, on
    /// flash of any size.
    pub fn sized(values: usize, longest: usize) -> Self {
        TestMemory {
            journal_table: vec![0; MAX_SECTORS as usize],
            journal_index: vec![Entry::default(); JOURNAL_RECORDS],
            vault_table: vec![0; MAX_SECTORS as usize],
            // Two more for the session, one for the display name.
            vault_index: vec![Entry::default(); values + 3],
            scratch: vec![0; MIN_SCRATCH + longest],
        }
    }

    /// Address and length in bytes of every buffer, for a test that searches its own
    /// memory for what should be gone.
    pub fn extents(&self) -> [(usize, usize); 5] {
        fn extent<T>(buffer: &[T]) -> (usize, usize) {
            (buffer.as_ptr().addr(), size_of_val(buffer))
        }
        [
            extent(&self.journal_table),
            extent(&self.journal_index),
            extent(&self.vault_table),
            extent(&self.vault_index),
            extent(&self.scratch),
        ]
    }

    /// Lends every buffer.
    pub fn lend(&mut self) -> Memory<'_> {
        Memory {
            journal_table: &mut self.journal_table,
            journal_index: &mut self.journal_index,
            vault_table: &mut self.vault_table,
            vault_index: &mut self.vault_index,
            scratch: &mut self.scratch,
        }
    }
}
