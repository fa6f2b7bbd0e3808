package capture

import (
	"fmt"
	"io"
	"runtime"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

// file writes pcapng. Its head is written with the first link, which the format wants there.
type file struct {
	w          io.Writer
	snapLength int
	ng         *pcapgo.NgWriter
}

// addLink writes what is known of a link and returns its number in the file.
func (f *file) addLink(name string, ethernet bool) (int, error) {
	l := pcapgo.NgInterface{
		Name: name, OS: runtime.GOOS, SnapLength: uint32(f.snapLength), TimestampResolution: 9,
		LinkType: layers.LinkTypeRaw,
	}
	if ethernet {
		l.LinkType = layers.LinkTypeEthernet
	}
	var id int
	var err error
	if f.ng != nil {
		id, err = f.ng.AddInterface(l)
	} else {
		section := pcapgo.NgSectionInfo{Hardware: runtime.GOARCH, OS: runtime.GOOS, Application: "bulkhead capture"}
		f.ng, err = pcapgo.NewNgWriterInterface(f.w, l, pcapgo.NgWriterOptions{SectionInfo: section})
	}
	if err != nil {
		return 0, fmt.Errorf("write the capture: link %s: %w", name, err)
	}
	return id, nil
}

func (f *file) write(link int, p packet) error {
	flags := pcapgo.NgEpbFlags{Direction: pcapgo.NgEpbFlagDirectionInbound}
	if p.leaving {
		flags.Direction = pcapgo.NgEpbFlagDirectionOutbound
	}
	err := f.ng.WritePacketWithOptions(gopacket.CaptureInfo{
		Timestamp: p.at, CaptureLength: len(p.data), Length: p.length, InterfaceIndex: link,
	}, p.data, pcapgo.NgPacketOptions{Flags: &flags})
	if err != nil {
		return fmt.Errorf("write the capture: %w", err)
	}
	return nil
}

func (f *file) flush() error {
	if f.ng == nil {
		return nil
	}
	if err := f.ng.Flush(); err != nil {
		return fmt.Errorf("write the capture: %w", err)
	}
	return nil
}

// close makes the file whole, also where no packet came: link is what was asked for.
func (f *file) close(link string) error {
	if f.ng == nil {
		if link == "" {
			link = "none"
		}
		if _, err := f.addLink(link, true); err != nil {
			return err
		}
	}
	return f.flush()
}
