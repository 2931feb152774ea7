package stages

import (
	"runtime"
	"sync/atomic"
	"time"

	"lsmdb/internal/base"
)

// courtesy has callers that write at the same time give way to the Writer
// (runtime.Gosched) for a moment before they sleep until it answers.
//
// A caller that sleeps may leave its processor without work, to fall asleep too. To
// wake it takes 50 to 80 microseconds, but the answer comes after one or two; and who
// is woken on the Writer's processor waits there behind others. One that gives way
// keeps its processor awake. A caller alone sleeps: the Writer runs in its place at once.
//
// To give way is to go to the end of the scheduler's queue, which may take milliseconds
// in a process that is busy with other work, the callers' own between their writes
// included. Once it took long while the Writer got little done, all callers sleep for ten
// times that, so that such waits take a tenth of their time at most. If the Writer got
// much done, those before in the queue were callers, too, and it is a fair turn.
type courtesy struct {
	base.Courtesy
	commits atomic.Uint64 // twice what the Writer has done, odd while it is at work; it alone sets this
	shared  atomic.Int32  // of so many more commits the callers give way
}

const (
	// sharedCommits follow one that came while the Writer was at work on another.
	sharedCommits = 256
	// maxCourtesies is how often one caller gives way. Mostly it is answered after one
	// or two; these many take a few microseconds where nobody else is in the queue.
	maxCourtesies = 16
	// slowCommit is several times what a commit of a few operations takes in an idle
	// process. Callers of large batches do not need to give way: they take longer.
	slowCommit = 5 * time.Microsecond
	// maxCourtesy is too long for one time, whatever the Writer got done meanwhile.
	maxCourtesy = 5 * time.Millisecond
)

// arrive notes that a commit is about to be sent to the Writer.
func (y *courtesy) arrive() {
	if y.commits.Load()%2 == 1 && y.shared.Load() < sharedCommits/2 {
		y.shared.Store(sharedCommits)
	}
}

// giveWay returns when c, which was sent, is answered, or else after some times.
func (y *courtesy) giveWay(c *Commit) {
	if c.Sync || c.seal || c.reply == nil || y.shared.Load() <= 0 {
		return
	}
	y.shared.Add(-1)
	before, first := base.Clock(), y.commits.Load()
	if y.Rests(before) {
		return
	}
	for times := 0; times < maxCourtesies && len(c.reply) == 0; times++ {
		runtime.Gosched()
		now, last := base.Clock(), y.commits.Load()
		took, done := now-before, time.Duration(last/2-first/2)
		if took > base.LongTurn && took > done*slowCommit || took > maxCourtesy {
			y.Rest(now, took)
			return
		}
		before, first = now, last
	}
}
