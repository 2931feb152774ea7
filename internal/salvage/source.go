package salvage

import (
	"cmp"
	"errors"
	"io"
	"path/filepath"

	"lsmdb/internal/vfs"
)

// source is a file of the old database. A disk that dies gives back some of it: what cannot
// be read counts as zeros, which verify nowhere.
type source struct {
	vfs.File
	sizeBytes int64
	trouble   error // the first error of reading; nil: none

	buffer []byte // what slice read last
	start  int64  // where in the file that lies
}

// open opens a file of the old database.
func (r *rescue) open(name string) (*source, error) {
	f, err := r.fs.Open(filepath.Join(r.dir, name))
	if err != nil {
		return nil, err
	}
	sizeBytes, err := f.Size()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &source{File: f, sizeBytes: sizeBytes}, nil
}

// pieceBytes is how much is given up where one byte cannot be read.
const pieceBytes = 4 << 10

// ReadAt implements io.ReaderAt.
func (s *source) ReadAt(p []byte, offset int64) (n int, err error) {
	n, err = s.File.ReadAt(p, offset)
	if n == len(p) || err == nil || ended(err) {
		return n, err
	}
	s.trouble = cmp.Or(s.trouble, err)
	for n = 0; n < len(p); {
		piece := p[n:]
		if rest := pieceBytes - (offset+int64(n))%pieceBytes; int64(len(piece)) > rest {
			piece = piece[:rest]
		}
		got, err := s.File.ReadAt(piece, offset+int64(n))
		if got < len(piece) && ended(err) {
			return n + got, err
		}
		if got < len(piece) {
			clear(piece)
		}
		n += len(piece)
	}
	return n, nil
}

func ended(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }

const (
	aheadBytes    = 256 << 10 // slice reads at least so much
	mostKeptBytes = 4 << 20   // a longer buffer is not used again
)

// slice returns a part of the file, as far as that goes, until the next call.
func (s *source) slice(from, to int64) []byte {
	from, to = max(0, from), min(to, s.sizeBytes)
	if from >= to {
		return nil
	}
	if from < s.start || to > s.start+int64(len(s.buffer)) {
		length := min(max(to-from, aheadBytes), s.sizeBytes-from)
		if int64(cap(s.buffer)) < length || int64(cap(s.buffer)) > max(mostKeptBytes, length) {
			s.buffer = make([]byte, length)
		}
		s.buffer, s.start = s.buffer[:length], from
		n, _ := s.ReadAt(s.buffer, from) // it may have become shorter
		clear(s.buffer[n:])
	}
	return s.buffer[from-s.start : to-s.start]
}

// why adds to the detail of a loss that the file could not be read everywhere.
func (s *source) why(detail string) string {
	if s.trouble != nil {
		detail += " (" + s.trouble.Error() + ")"
	}
	return detail
}
