package proxy

import "testing"

// The memory of huge pieces is bounded: beyond it, large ones have to do.
func TestHugePiecesAreBounded(t *testing.T) {
	var p pieces
	small := make([]byte, chunkRoom+smallPiece+2)
	rooms := make([]room, maxHuge+1)
	for i := range rooms {
		r := &rooms[i]
		r.pieces, r.buf = &p, small
		for _, want := range []int{smallPiece, largePiece, hugePiece, hugePiece} {
			if i == maxHuge {
				want = min(want, largePiece)
			}
			if n := len(r.data()); n != want {
				t.Fatalf("room %d has %d bytes, want %d", i, n, want)
			}
			r.enlarge()
		}
	}
	rooms[0].release()
	last := &rooms[maxHuge]
	if last.enlarge(); len(last.data()) != hugePiece || last.large != nil {
		t.Error("one that was given back is not lent again")
	}
	for i := range rooms {
		rooms[i].release()
	}
	if n := p.lent.Load(); n != 0 {
		t.Errorf("%d are lent", n)
	}
}
