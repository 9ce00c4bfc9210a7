//! The buffers that a simulated device lends to its agent.
//!
//! The test kit has such buffers too ([`nrd_agent_testkit::TestMemory`]), with
//! tables for the largest flash there is. A fleet keeps hundreds of devices
//! alive at once, so these are cut to the part.

use nrd_agent::Memory;
use nrd_agent::log::Entry;

/// Buffers that the agent borrows. A reboot drops them with every object.
pub struct AgentBuffers {
    journal_table: Vec<u32>,
    journal_index: Vec<Entry>,
    vault_table: Vec<u32>,
    vault_index: Vec<Entry>,
    scratch: Vec<u8>,
}

impl Default for AgentBuffers {
    fn default() -> Self {
        AgentBuffers {
            journal_table: vec![0; 8],
            journal_index: vec![Entry::default(); nrd_agent::agent::JOURNAL_RECORDS],
            vault_table: vec![0; 4096],
            vault_index: vec![Entry::default(); 512],
            scratch: vec![0; 2048],
        }
    }
}

impl AgentBuffers {
    /// For a device with at most so many sectors, cached records, and bytes in a
    /// value: no more than it needs.
    pub fn sized(sectors: u32, records: usize, longest: usize) -> AgentBuffers {
        AgentBuffers {
            journal_table: vec![0; 8],
            journal_index: vec![Entry::default(); nrd_agent::agent::JOURNAL_RECORDS],
            vault_table: vec![0; sectors as usize],
            vault_index: vec![Entry::default(); records + 2],
            scratch: vec![0; (longest + 512).max(1024)],
        }
    }

    /// Lends it all.
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
