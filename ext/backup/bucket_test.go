package backup

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"testing"

	"gocloud.dev/blob"
	"gocloud.dev/blob/driver"
	"gocloud.dev/blob/memblob"
	"gocloud.dev/gcerrors"
)

// operation is one call of a bucket, before it is carried out or behind that.
type operation struct {
	kind string // read, write, list, delete
	name string
	done bool
}

// faulty is a bucket whose operations may fail: before they do anything, or behind it, so that
// nobody hears of their success. It wraps another bucket.
type faulty struct {
	inner *blob.Bucket

	mu    sync.Mutex
	count int                   // of operations, each counted before and behind it
	fail  func(operation) error // nil: nothing fails
	lose  func(name string) bool
}

// newFaulty wraps an empty memblob.
func newFaulty(t testing.TB) (*faulty, store) {
	t.Helper()
	return wrap(t, memblob.OpenBucket(nil))
}

func wrap(t testing.TB, inner *blob.Bucket) (*faulty, store) {
	f := &faulty{inner: inner}
	return f, store{blob.NewBucket(f)}
}

// set makes operations fail, or heals the bucket.
func (f *faulty) set(fail func(operation) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail, f.count = fail, 0
}

// counted returns how many operations there were since set.
func (f *faulty) counted() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.count
}

var errBroken = errors.New("the bucket is broken")

// dieAt fails all operations from the n-th on.
func (f *faulty) dieAt(n int) {
	f.set(func(operation) error {
		if f.count > n {
			return errBroken
		}
		return nil
	})
}

func (f *faulty) do(kind, name string, action func() error) error {
	if err := f.pass(operation{kind, name, false}); err != nil {
		return err
	}
	if err := action(); err != nil {
		return err
	}
	return f.pass(operation{kind, name, true})
}

func (f *faulty) pass(o operation) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.count++
	if f.fail == nil {
		return nil
	}
	return f.fail(o)
}

func (f *faulty) ErrorCode(err error) gcerrors.ErrorCode { return gcerrors.Code(err) }
func (f *faulty) As(any) bool                            { return false }
func (f *faulty) ErrorAs(error, any) bool                { return false }
func (f *faulty) Close() error                           { return f.inner.Close() }

func (f *faulty) Attributes(ctx context.Context, key string) (a *driver.Attributes, err error) {
	err = f.do("read", key, func() error {
		found, err := f.inner.Attributes(ctx, key)
		if err == nil {
			a = &driver.Attributes{Size: found.Size, ModTime: found.ModTime, ContentType: found.ContentType}
		}
		return err
	})
	return a, err
}

func (f *faulty) ListPaged(ctx context.Context, o *driver.ListOptions) (page *driver.ListPage, err error) {
	err = f.do("list", o.Prefix, func() error {
		token, size := o.PageToken, o.PageSize
		if len(token) == 0 {
			token = blob.FirstPageToken
		}
		if size == 0 {
			size = 7 // so that there are several pages
		}
		objects, next, err := f.inner.ListPage(ctx, token, size, &blob.ListOptions{Prefix: o.Prefix, Delimiter: o.Delimiter})
		page = &driver.ListPage{NextPageToken: next}
		for _, found := range objects {
			page.Objects = append(page.Objects, &driver.ListObject{Key: found.Key, ModTime: found.ModTime, Size: found.Size, IsDir: found.IsDir})
		}
		return err
	})
	return page, err
}

func (f *faulty) NewRangeReader(ctx context.Context, key string, offset, length int64, _ *driver.ReaderOptions) (r driver.Reader, err error) {
	err = f.do("read", key, func() error {
		inner, err := f.inner.NewRangeReader(ctx, key, offset, length, nil)
		r = faultyReader{inner}
		return err
	})
	if err != nil && r != nil && r != (faultyReader{}) {
		r.Close()
	}
	return r, err
}

type faultyReader struct{ *blob.Reader }

func (r faultyReader) Attributes() *driver.ReaderAttributes {
	return &driver.ReaderAttributes{ContentType: r.ContentType(), ModTime: r.ModTime(), Size: r.Size()}
}
func (faultyReader) As(any) bool { return false }

func (f *faulty) NewTypedWriter(ctx context.Context, key, contentType string, o *driver.WriterOptions) (driver.Writer, error) {
	return &faultyWriter{f: f, ctx: ctx, key: key, options: blob.WriterOptions{ContentType: contentType, IfNotExist: o.IfNotExist}}, nil
}

type faultyWriter struct {
	bytes.Buffer
	f       *faulty
	ctx     context.Context
	key     string
	options blob.WriterOptions
}

func (w *faultyWriter) ReadFrom(r io.Reader) (int64, error) { return w.Buffer.ReadFrom(r) }

func (w *faultyWriter) Close() error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	if !w.options.IfNotExist {
		return errors.New("an object may be overwritten")
	}
	return w.f.do("write", w.key, func() error {
		if w.f.lose != nil && w.f.lose(w.key) {
			return nil
		}
		return w.f.inner.WriteAll(w.ctx, w.key, w.Bytes(), &w.options)
	})
}

func (f *faulty) Copy(context.Context, string, string, *driver.CopyOptions) error {
	return errors.New("nothing is copied")
}

func (f *faulty) Delete(ctx context.Context, key string, _ *driver.DeleteOptions) error {
	return f.do("delete", key, func() error { return f.inner.Delete(ctx, key) })
}

func (f *faulty) SignedURL(context.Context, string, *driver.SignedURLOptions) (string, error) {
	return "", errors.New("nothing is signed")
}
