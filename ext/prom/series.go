package prom

import (
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"lsmdb/db"
)

const (
	counts  = prometheus.CounterValue
	present = prometheus.GaugeValue
)

// series are all metrics, in the order in which data passes through the database.
func series() []oneSeries {
	return slices.Concat(general(), writes(), stages(), jobs(), levels(), reads(), memory(), holders(), files(), recovery())
}

func general() []oneSeries {
	return []oneSeries{
		{name: "uptime_seconds", help: "Time since the database was opened.", kind: present,
			show: func(m *db.Metrics, add func(float64, ...string)) { add(m.Uptime.Seconds()) }},
		gauge("failed", "1 if the database is read-only after a failure, else 0.", func(m *db.Metrics) int { return truth(m.Failure != "") }),
		gauge("sequence", "Sequence number of the newest visible write.", func(m *db.Metrics) uint64 { return m.Sequence }),
		{name: "write_amplification_ratio", help: "Bytes written to the log and tables per byte that callers wrote since the database was opened.", kind: present,
			show: func(m *db.Metrics, add func(float64, ...string)) { add(m.WriteAmplification()) }},
		gauge("read_amplification_runs", "Sorted runs that a read of an absent key without filters would look into.", (*db.Metrics).ReadAmplification),
	}
}

func writes() []oneSeries {
	return []oneSeries{
		counter("commits_total", "Commits: writes, batches, syncs, flushes, and reads that waited for queued writes.", func(m *db.Metrics) uint64 { return m.Writes.Commits }),
		counter("commits_queued_total", "Commits that were acknowledged when they were queued.", func(m *db.Metrics) uint64 { return m.Writes.Queued }),
		counter("commits_large_total", "Commits that their callers prepared because they are large.", func(m *db.Metrics) uint64 { return m.Writes.Large }),
		counter("commit_groups_total", "Groups that commits were merged into, each at most one record in the log.", func(m *db.Metrics) uint64 { return m.Writes.Groups }),
		counter("operations_total", "Puts, deletes and other operations that were written.", func(m *db.Metrics) uint64 { return m.Writes.Operations }),
		counter("user_bytes_total", "Bytes of keys and values that callers wrote.", func(m *db.Metrics) uint64 { return m.Writes.UserBytes }),
		gauge("wal_segment", "Number of the log segment being written.", func(m *db.Metrics) uint64 { return m.WAL.Segment }),
		gauge("wal_offset_bytes", "Bytes written in the present log segment.", func(m *db.Metrics) int64 { return m.WAL.OffsetBytes }),
		gauge("wal_durable_bytes", "Bytes known to be synced in the present log segment.", func(m *db.Metrics) int64 { return m.WAL.DurableBytes }),
		gauge("wal_reserved_bytes", "Bytes preallocated in the present log segment.", func(m *db.Metrics) int64 { return m.WAL.ReservedBytes }),
		counter("wal_written_bytes_total", "Bytes written to the log, without preallocation.", func(m *db.Metrics) uint64 { return m.WAL.BytesWritten }),
		counter("wal_syncs_total", "Syncs of the log.", func(m *db.Metrics) uint64 { return m.WAL.Syncs }),
		seconds("wal_sync_seconds_total", "Time that syncs of the log took.", func(m *db.Metrics) time.Duration { return m.WAL.SyncTime }),
		counter("wal_rotations_total", "Times that one log segment followed another.", func(m *db.Metrics) uint64 { return m.WAL.Rotations }),
		seconds("wal_rotation_seconds_total", "Time that writers were held back while one log segment followed another.", func(m *db.Metrics) time.Duration { return m.Stalls.RotationTime }),
		counter("stalls_total", "Times that writers were stopped.", func(m *db.Metrics) uint64 { return m.Stalls.Count }),
		seconds("stall_seconds_total", "Time that writers were stopped.", func(m *db.Metrics) time.Duration { return m.Stalls.Time }),
		counter("slowed_total", "Groups of writes that had to wait for a flush to go on.", func(m *db.Metrics) uint64 { return m.Stalls.Slowed }),
		seconds("slowed_seconds_total", "Time that writes waited for a flush to go on.", func(m *db.Metrics) time.Duration { return m.Stalls.SlowedTime }),
		seconds("flush_slowed_seconds_total", "Time that flushes waited for compactions to go on.", func(m *db.Metrics) time.Duration { return m.Stalls.FlushSlowedTime }),
		{name: "stalled_behind", help: "1 for the stage that writers wait for now, else 0.", kind: present, labels: []string{"stage"},
			show: func(m *db.Metrics, add func(float64, ...string)) {
				for _, stage := range []string{"flusher", "compactor"} {
					add(float64(truth(m.Stalls.Behind == stage)), stage)
				}
			}},
		gauge("memtable_bytes", "Bytes in the memtable that is being filled.", func(m *db.Metrics) int64 { return m.Memtable.ActiveBytes }),
		gauge("memtable_entries", "Entries in the memtable that is being filled.", func(m *db.Metrics) int64 { return m.Memtable.ActiveCount }),
		gauge("sealed_memtables", "Memtables that wait for the flusher, or are in it.", func(m *db.Metrics) int { return m.Memtable.Sealed }),
		gauge("sealed_memtables_bytes", "Bytes in sealed memtables.", func(m *db.Metrics) int64 { return m.Memtable.SealedBytes }),
		gauge("sealed_memtables_entries", "Entries in sealed memtables.", func(m *db.Metrics) int64 { return m.Memtable.SealedCount }),
	}
}

func stages() []oneSeries {
	return []oneSeries{
		ofStages("stage_mailbox_messages", "Messages that wait in the mailbox of a stage.", present, func(s *db.StageMetrics) float64 { return float64(s.Depth) }),
		ofStages("stage_mailbox_capacity_messages", "Messages that may wait in the mailbox of a stage.", present, func(s *db.StageMetrics) float64 { return float64(s.Capacity) }),
		ofStages("stage_messages_total", "Messages that a stage received.", counts, func(s *db.StageMetrics) float64 { return float64(s.Messages) }),
		ofStages("stage_blocked_seconds_total", "Time that senders waited because the mailbox of a stage was full.", counts, func(s *db.StageMetrics) float64 { return s.Blocked.Seconds() }),
		ofStages("stage_busy_seconds_total", "Time that a stage spent on messages, its own waiting for others included.", counts, func(s *db.StageMetrics) float64 { return s.Busy.Seconds() }),
	}
}

func jobs() []oneSeries {
	return []oneSeries{
		ofJobs("jobs_total", "Flushes and compactions that ended.", counts, func(j *db.JobMetrics) uint64 { return j.Jobs }),
		ofJobs("jobs_running", "Flushes and compactions under way.", present, func(j *db.JobMetrics) int { return j.Running }),
		ofJobs("jobs_moved_tables_total", "Tables that moved down without being rewritten.", counts, func(j *db.JobMetrics) uint64 { return j.Moves }),
		ofJobs("jobs_dropping_total", "Jobs that removed tables without reading them.", counts, func(j *db.JobMetrics) uint64 { return j.Drops }),
		ofJobs("jobs_read_bytes_total", "Bytes that jobs read.", counts, func(j *db.JobMetrics) uint64 { return j.BytesRead }),
		ofJobs("jobs_written_bytes_total", "Bytes that jobs wrote.", counts, func(j *db.JobMetrics) uint64 { return j.BytesWritten }),
		ofJobs("jobs_read_entries_total", "Entries that jobs read.", counts, func(j *db.JobMetrics) uint64 { return j.EntriesIn }),
		ofJobs("jobs_written_entries_total", "Entries that jobs wrote.", counts, func(j *db.JobMetrics) uint64 { return j.EntriesOut }),
		{name: "jobs_seconds_total", help: "Time that jobs took.", kind: counts, labels: []string{"job"}, show: func(m *db.Metrics, add func(float64, ...string)) {
			add(m.Flush.Time.Seconds(), "flush")
			add(m.Compact.Time.Seconds(), "compaction")
		}},
		ofJobs("jobs_retries_total", "Attempts that failed and were repeated.", counts, func(j *db.JobMetrics) uint64 { return j.Retries }),
		ofJobs("jobs_set_aside_tables", "Damaged tables that compaction leaves alone.", present, func(j *db.JobMetrics) int { return j.SetAside }),
		counter("merge_failures_total", "Times that the merge operator failed in a flush or compaction.", func(m *db.Metrics) uint64 { return m.MergeFailures }),
	}
}

func levels() []oneSeries {
	return []oneSeries{
		ofLevels("level_tables", "Tables in a level.", present, func(l *db.LevelMetrics) int { return l.Tables }),
		ofLevels("level_bytes", "Bytes of the tables in a level.", present, func(l *db.LevelMetrics) int64 { return l.Bytes }),
		ofLevels("level_entries", "Entries in a level.", present, func(l *db.LevelMetrics) uint64 { return l.Entries }),
		ofLevels("level_deletes", "Deletes among the entries of a level.", present, func(l *db.LevelMetrics) uint64 { return l.Deletes }),
		ofLevels("level_range_deletes", "Range deletes in a level, once for each span into which they cut each other.", present, func(l *db.LevelMetrics) uint64 { return l.RangeDeletes }),
		ofLevels("level_merge_operands", "Merge operands among the entries of a level.", present, func(l *db.LevelMetrics) uint64 { return l.Merges }),
		ofLevels("level_expiring_entries", "Values that end among the entries of a level.", present, func(l *db.LevelMetrics) uint64 { return l.Expiring }),
		ofLevels("level_written_bytes_total", "Bytes that flushes and compactions wrote into a level.", counts, func(l *db.LevelMetrics) uint64 { return l.BytesWritten }),
		ofLevels("level_read_bytes_total", "Bytes that compactions into a level read.", counts, func(l *db.LevelMetrics) uint64 { return l.BytesRead }),
		ofLevels("level_jobs_total", "Jobs that wrote to a level.", counts, func(l *db.LevelMetrics) uint64 { return l.Jobs }),
		ofLevels("level_moved_tables_total", "Tables that came down to a level without being rewritten.", counts, func(l *db.LevelMetrics) uint64 { return l.Moves }),
	}
}

func reads() []oneSeries {
	return []oneSeries{
		counter("blocks_read_total", "Blocks read from table files by reads and compactions.", func(m *db.Metrics) uint64 { return m.Reads.BlocksRead }),
		counter("blocks_read_bytes_total", "Bytes of blocks read from table files by reads and compactions.", func(m *db.Metrics) uint64 { return m.Reads.BytesRead }),
		gauge("cache_capacity_bytes", "Capacity of the block cache.", func(m *db.Metrics) int64 { return m.Cache.Capacity }),
		gauge("cache_used_bytes", "Bytes in the block cache.", func(m *db.Metrics) int64 { return m.Cache.Used }),
		gauge("cache_blocks", "Blocks in the block cache.", func(m *db.Metrics) int { return m.Cache.Blocks }),
		counter("cache_hits_total", "Blocks that were found in the cache.", func(m *db.Metrics) uint64 { return m.Cache.Hits }),
		counter("cache_misses_total", "Blocks that were not found in the cache.", func(m *db.Metrics) uint64 { return m.Cache.Misses }),
		counter("cache_evictions_total", "Blocks that had to leave the cache for others.", func(m *db.Metrics) uint64 { return m.Cache.Evictions }),
		counter("filter_checks_total", "Times that a filter was asked.", func(m *db.Metrics) uint64 { return m.Filter.Checks }),
		counter("filter_negatives_total", "Tables that were not read thanks to a filter.", func(m *db.Metrics) uint64 { return m.Filter.Negatives }),
		counter("filter_false_positives_total", "Tables that were read in vain.", func(m *db.Metrics) uint64 { return m.Filter.FalsePositives }),
	}
}

func memory() []oneSeries {
	return []oneSeries{
		gauge("memory_limit_bytes", "Limit of the memory budget, 0 without one.", func(m *db.Metrics) int64 { return m.Memory.Limit }),
		gauge("memory_used_bytes", "Memory that the database takes, as it counts it.", func(m *db.Metrics) int64 { return m.Memory.Used }),
		{name: "memory_bytes", help: "Memory that the database takes, as it counts it, by what it is taken for.", kind: present, labels: []string{"owner"},
			show: func(m *db.Metrics, add func(float64, ...string)) {
				for _, o := range []struct {
					owner string
					bytes int64
				}{
					{"memtables", m.Memory.Memtables}, {"sealed", m.Memory.Sealed}, {"cache", m.Memory.Cache}, {"tables", m.Memory.Tables},
					{"jobs", m.Memory.Jobs}, {"readahead", m.Memory.ReadAhead}, {"collector", m.Memory.Collector},
				} {
					add(float64(o.bytes), o.owner)
				}
			}},
	}
}

func holders() []oneSeries {
	return []oneSeries{
		gauge("snapshots_open", "Open snapshots, those of transactions included.", func(m *db.Metrics) int { return m.Snapshot.Open }),
		gauge("snapshots_oldest_sequence", "Sequence number of the oldest open snapshot, 0 without one.", func(m *db.Metrics) uint64 { return m.Snapshot.Oldest }),
		gauge("iterators_open", "Open iterators.", func(m *db.Metrics) int { return m.Iterator.Open }),
		gauge("iterators_memtable_bytes", "Memory of flushed memtables that only iterators keep.", func(m *db.Metrics) int64 { return m.Iterator.MemtableBytes }),
		gauge("iterators_file_bytes", "Bytes of such memtables that were moved to the disk.", func(m *db.Metrics) int64 { return m.Iterator.FileBytes }),
		gauge("transactions_open", "Open transactions.", func(m *db.Metrics) int { return m.Transaction.Open }),
		counter("transactions_begun_total", "Transactions that were begun.", func(m *db.Metrics) uint64 { return m.Transaction.Begun }),
		counter("transactions_committed_total", "Transactions that committed.", func(m *db.Metrics) uint64 { return m.Transaction.Committed }),
		counter("transactions_conflicted_total", "Transactions that were refused because of a conflict.", func(m *db.Metrics) uint64 { return m.Transaction.Conflicted }),
		gauge("checkpoints_open", "Checkpoints under way.", func(m *db.Metrics) int { return m.Checkpoint.Open }),
		gauge("checkpoints_table_bytes", "Bytes of replaced tables that only checkpoints keep.", func(m *db.Metrics) int64 { return m.Checkpoint.TableBytes }),
		gauge("changes_loops", "Loops over the changes that run.", func(m *db.Metrics) int { return m.Changes.Loops }),
		gauge("changes_kept_segments", "Log segments that are only kept for those who follow the changes.", func(m *db.Metrics) int { return m.Changes.Segments }),
		gauge("changes_kept_bytes", "Bytes of log segments that are only kept for those who follow the changes.", func(m *db.Metrics) int64 { return m.Changes.Bytes }),
		gauge("changes_oldest_sequence", "Changes behind this sequence number are kept.", func(m *db.Metrics) uint64 { return m.Changes.Oldest }),
	}
}

func files() []oneSeries {
	return []oneSeries{
		gauge("files_open_tables", "Tables whose file is open.", func(m *db.Metrics) int { return m.Files.OpenTables }),
		counter("files_obsolete_deleted_total", "Files that nobody needed any more and that were deleted.", func(m *db.Metrics) uint64 { return m.Files.ObsoleteDeleted }),
		gauge("files_obsolete_pending", "Files that are not needed any more, but still read or not to be deleted yet.", func(m *db.Metrics) int { return m.Files.ObsoletePending }),
		gauge("files_manifest_bytes", "Bytes of the manifest.", func(m *db.Metrics) int64 { return m.Files.ManifestBytes }),
	}
}

func recovery() []oneSeries {
	return []oneSeries{
		gauge("recovery_created", "1 if the directory held no database when it was opened, else 0.", func(m *db.Metrics) int { return truth(m.Recovery.Created) }),
		gauge("recovery_clean", "1 if the last use of the database had ended with Close, else 0.", func(m *db.Metrics) int { return truth(m.Recovery.CleanClose) }),
		gauge("recovery_segments", "Log segments that were replayed.", func(m *db.Metrics) int { return m.Recovery.Segments }),
		gauge("recovery_commits", "Groups of commits that were replayed.", func(m *db.Metrics) uint64 { return m.Recovery.Commits }),
		gauge("recovery_operations", "Operations that were replayed.", func(m *db.Metrics) uint64 { return m.Recovery.Operations }),
		gauge("recovery_bytes", "Bytes of the log that were replayed.", func(m *db.Metrics) int64 { return m.Recovery.Bytes }),
		gauge("recovery_torn_bytes", "Bytes of an unfinished write that were cut off.", func(m *db.Metrics) int64 { return m.Recovery.TornBytes }),
		gauge("recovery_written_tables", "Tables that were made of what was replayed.", func(m *db.Metrics) int { return m.Recovery.TablesWritten }),
		gauge("recovery_removed_files", "Files that were left over and removed.", func(m *db.Metrics) int { return m.Recovery.FilesRemoved }),
		{name: "recovery_seconds", help: "Time that opening took.", kind: present,
			show: func(m *db.Metrics, add func(float64, ...string)) { add(m.Recovery.Time.Seconds()) }},
	}
}
