package upstream

import (
	"errors"
	"io"
	"math"

	"github.com/pillion-proxy/pillion/internal/splice"
)

// Movable says how many bytes are left that Move can give: none when the next ones have
// been read already, or are enciphered or chunked.
func (b *Body) Movable() int64 {
	if b.cn == nil || b.err != nil || b.unread > 0 || b.cn.src.socket == nil || b.cn.br.Buffered() > 0 || len(b.cn.src.pending) > 0 {
		return 0
	}
	switch b.framing {
	case byLength:
		return b.left
	case byClose:
		return math.MaxInt64
	}
	return 0
}

// Move is Read into a pipe, which must be empty. When it gives splice.ErrRefused nothing was
// taken, and the body can be read on. The first call needs that Movable gives more than 0.
func (b *Body) Move(pipe *splice.Pipe) (int, error) {
	if b.err != nil || b.cn == nil {
		return b.Read(nil)
	}
	src := &b.cn.src
	if err := src.extend(); err != nil {
		b.fail(err)
		return 0, b.err
	}
	n, err := pipe.Fill(src.socket, b.Movable())
	if errors.Is(err, splice.ErrRefused) {
		return 0, err
	}
	end := false
	if b.framing == byLength {
		b.left -= int64(n)
		end = b.left == 0
	} else {
		end = err == io.EOF
	}
	return b.took(n, end, err)
}
