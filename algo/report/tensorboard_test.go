package report

import (
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dataflex.dev/dataflex/data/pyjson"
)

// The reader below is written from the format's description and shares nothing
// with the writer, its bitwise CRC-32C included.

func crc32c(b []byte) uint32 {
	c := ^uint32(0)
	for _, x := range b {
		c ^= uint32(x)
		for range 8 {
			c = c>>1 ^ 0x82f63b78*(c&1)
		}
	}
	return ^c
}

func checkSum(t *testing.T, b, masked []byte) {
	t.Helper()
	m := binary.LittleEndian.Uint32(masked) - 0xa282ead8
	if got := m>>17 | m<<15; got != crc32c(b) {
		t.Fatalf("checksum %08x of % x, not %08x", got, b, crc32c(b))
	}
}

func records(t *testing.T, path string) (out [][]byte) {
	t.Helper()
	b := []byte(read(t, path))
	for len(b) > 0 {
		checkSum(t, b[:8], b[8:12])
		n := binary.LittleEndian.Uint64(b)
		checkSum(t, b[12:12+n], b[12+n:16+n])
		out, b = append(out, b[12:12+n]), b[16+n:]
	}
	return out
}

// fields decodes one protocol buffer message; repeated fields in order.
func fields(t *testing.T, b []byte) map[int][]any {
	t.Helper()
	out := map[int][]any{}
	varint := func() uint64 {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			t.Fatalf("no varint at % x", b)
		}
		b = b[n:]
		return v
	}
	for len(b) > 0 {
		key := varint()
		var v any
		switch key & 7 {
		case 0:
			v = int64(varint())
		case 1:
			v, b = math.Float64frombits(binary.LittleEndian.Uint64(b)), b[8:]
		case 2:
			n := varint()
			v, b = b[:n], b[n:]
		case 5:
			v, b = math.Float32frombits(binary.LittleEndian.Uint32(b)), b[4:]
		default:
			t.Fatalf("wire type %d", key&7)
		}
		out[int(key>>3)] = append(out[int(key>>3)], v)
	}
	return out
}

func scalars(t *testing.T, path string) string {
	t.Helper()
	var b strings.Builder
	for i, r := range records(t, path) {
		e := fields(t, r)
		wall := e[1][0].(float64)
		if age := float64(time.Now().Unix()) - wall; age < -2 || age > 600 {
			t.Errorf("wall time %v", wall)
		}
		switch {
		case i == 0:
			fmt.Fprintf(&b, "%s\n", e[3][0])
		case e[7] != nil:
			fmt.Fprintf(&b, "%d session %d\n", e[2][0], fields(t, e[7][0].([]byte))[1][0])
		default:
			for _, v := range fields(t, e[5][0].([]byte))[1] {
				value := fields(t, v.([]byte))
				fmt.Fprintf(&b, "%d %s %v\n", e[2][0], value[1][0], value[2][0])
			}
		}
	}
	return b.String()
}

func TestChecksum(t *testing.T) {
	// The check value of CRC-32C, and TensorFlow's mask of it.
	if got := crc32c([]byte("123456789")); got != 0xe3069283 {
		t.Fatalf("%08x", got)
	}
	if got := maskedSum([]byte("123456789")); got != 0xc78ab0e5 {
		t.Errorf("%08x", got)
	}
}

func TestEventsDecode(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "runs")
	e, err := OpenEvents(dir)
	if err != nil {
		t.Fatal(err)
	}
	entry := pyjson.Object{{Key: "epoch", Value: 0.5}, {Key: "grad_norm", Value: 2.5}, {Key: "learning_rate", Value: 1e-05}, {Key: "loss", Value: math.NaN()}, {Key: "step", Value: 300}, {Key: "note", Value: "x"}, {Key: "n", Value: 3}}
	for _, err := range []error{
		e.Scalar(0, "train/loss", 2.25), e.Log(entry),
		e.Log(pyjson.Object{{Key: "eval_loss", Value: 1.5}, {Key: "eval_a_loss", Value: 0.1}, {Key: "test_x", Value: 1.0}, {Key: "step", Value: 1 << 40}}), e.Close(true),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := e.Log(pyjson.Object{{Key: "loss", Value: 1.0}}); err == nil {
		t.Error("an entry without a step was written")
	}
	again, err := OpenEvents(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{again.Resume(299), again.Scalar(300, "train/loss", -1), again.Close(true)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 2 {
		t.Fatalf("%v, %v", files, err)
	}
	const first = `brain.Event:2
0 train/loss 2.25
300 train/epoch 0.5
300 train/grad_norm 2.5
300 train/learning_rate 1e-05
300 train/loss NaN
300 train/n 3
1099511627776 eval/loss 1.5
1099511627776 eval/a_loss 0.1
1099511627776 test/x 1
`
	if !strings.HasPrefix(files[0].Name(), "events.out.tfevents.") {
		t.Errorf("named %s", files[0].Name())
	}
	if got := scalars(t, filepath.Join(dir, files[0].Name())); got != first {
		t.Errorf("got\n%swant\n%s", got, first)
	}
	if got, want := scalars(t, filepath.Join(dir, files[1].Name())), "brain.Event:2\n300 session 1\n300 train/loss -1\n"; got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestEventsWhereNoFolderCanBe(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	appendTo(t, file, "x")
	if _, err := OpenEvents(file); err == nil {
		t.Error("a file was taken for a folder")
	}
}
