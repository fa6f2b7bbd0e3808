package scenario

import (
	"context"
	"errors"

	"bulkhead/lab/pki"
)

func certificates() Part {
	x := certified()
	return Part{Title: "A certificate says which interface a site is", Steps: []Step{
		{
			"a site of Litware whose address nobody knows shows Fabrikam's certificate for IfLc1, and is IfLc1",
			func(ctx context.Context, w *World) ([]string, error) {
				if err := addLitware(ctx, w, []way{x}, ""); err != nil {
					return nil, err
				}
				return w.arrives(ctx, x)
			},
		},
		{"the same name by another authority, and another name by Fabrikam's, are refused", func(ctx context.Context, w *World) ([]string, error) {
			return otherCertificates(ctx, w, x)
		}},
		{"Litware goes without a trace", func(ctx context.Context, w *World) ([]string, error) {
			return nil, errors.Join(w.removeLitware(ctx), w.gone(ctx, "Litware", []uint32{6201}, "59.10.10.51"))
		}},
	}}
}

// arrives brings a site's tunnel up by whoever dials, and lets both ends talk.
func (w *World) arrives(ctx context.Context, x way) (seen []string, err error) {
	if !x.dialled {
		if err := w.Site(x.name).Up(ctx); err != nil {
			return nil, err
		}
	}
	if seen, err = talk(ctx, w, x.site); err != nil {
		return seen, err
	}
	now, err := w.connected(ctx, x.iface)
	return append([]string{now}, seen...), err
}

func otherCertificates(ctx context.Context, w *World, x way) (seen []string, err error) {
	stranger, err := pki.NewAuthority("Fabrikam CA")
	if err != nil {
		return nil, err
	}
	for _, other := range []struct {
		by       *pki.Authority
		who, why string
	}{{stranger, x.iface, "vouches"}, {w.credentials.ca, "IfLc2", "IfLc2"}} {
		ike, err := foreign(w, other.by, other.who)
		if err != nil {
			return seen, err
		}
		line, err := w.refuses(ctx, x.name, ike, other.why)
		seen = append(seen, line...)
		if err != nil {
			return seen, err
		}
	}
	return seen, nil
}
