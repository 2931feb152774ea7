package attach

import (
	"bufio"
	"io"
	"iter"
	"net/http"
	"sync"
	"time"

	"lsmdb/db"
	"lsmdb/internal/beside"
)

// changes answers with a stream of changes, which ends with the connection.
func (s *Server) changes(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/octet-stream")
	q, err := question[beside.After](w, r)
	if err != nil {
		_, _ = w.Write(beside.AppendEnd(nil, err))
		return
	}
	writeChanges(w, http.NewResponseController(w).Flush, s.db.Changes(r.Context(), q.After))
}

// writeChanges writes changes as a stream. flush is called now and then, so that what was
// written is not held back.
func writeChanges(to io.Writer, flush func() error, changes iter.Seq2[db.Change, error]) {
	s := &changeWriter{to: bufio.NewWriterSize(to, beside.StreamBytes), flush: flush}
	s.send() // that there is an answer, which may take long
	var frame []byte
	for c, err := range changes {
		if err == nil {
			frame, err = beside.AppendChange(frame[:0], c)
		}
		if err != nil {
			frame = beside.AppendEnd(frame[:0], err)
		}
		if s.write(frame) != nil || err != nil {
			break
		}
	}
	s.end()
}

// heldTime is for how long a change may be held back, so that many go with one write.
const heldTime = 5 * time.Millisecond

// changeWriter collects frames and sends them when there are enough, or when the first of them
// has waited.
type changeWriter struct {
	flush func() error

	mu    sync.Mutex // of what follows, between whoever writes and the timer
	to    *bufio.Writer
	timer *time.Timer // nil: nothing is held back
	err   error       // the first
	ended bool
}

// write takes a frame. It waits for whoever reads the stream.
func (s *changeWriter) write(frame []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		_, s.err = s.to.Write(frame)
	}
	if s.timer == nil {
		s.timer = time.AfterFunc(heldTime, s.send)
	}
	return s.err
}

// send sends what was held back.
func (s *changeWriter) send() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.timer = nil
	if s.err != nil || s.ended {
		return
	}
	if s.err = s.to.Flush(); s.err == nil {
		s.err = s.flush()
	}
}

// end sends what is left. Nothing is written afterwards.
func (s *changeWriter) end() {
	s.send()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	if s.timer != nil {
		s.timer.Stop()
	}
}
