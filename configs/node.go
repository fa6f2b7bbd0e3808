package configs

import (
	"fmt"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// maxAliased bounds how many values the aliases of one document may stand for, so that a few lines cannot stand for
// millions of values.
const maxAliased = 100_000

// nodeKind is what a YAML value is.
type nodeKind string

const (
	nullNode    nodeKind = "nothing"
	boolNode    nodeKind = "a truth value"
	numberNode  nodeKind = "a number"
	textNode    nodeKind = "text"
	listNode    nodeKind = "a list"
	mappingNode nodeKind = "a mapping"
	brokenNode  nodeKind = "broken" // noted as a problem already
)

// node is a YAML value with its place: what the decoder and the checks need of the parser's tree, with aliases
// resolved.
type node struct {
	kind         nodeKind
	text         string // of a scalar, as written or unquoted
	line, column int
	items        []*node
	entries      []entry
	size         int // values at and below it, aliases expanded
}

// entry is a key of a mapping and its value.
type entry struct {
	key   *node
	value *node
}

// get finds the value of a key; nil if there is none.
func (n *node) get(key string) *node {
	if n == nil {
		return nil
	}
	for _, e := range n.entries {
		if e.key.text == key {
			return e.value
		}
	}
	return nil
}

// converter makes nodes of the parser's tree.
type converter struct {
	offset  int // lines before the document
	anchors map[string]*node
	aliased int
	// bad takes what YAML allows and a declaration does not.
	bad func(line, column int, p *path, message string)
}

func (c *converter) node(n ast.Node, p *path) *node {
	out := &node{kind: nullNode, size: 1}
	if n == nil {
		return out
	}
	if tk := n.GetToken(); tk != nil && tk.Position != nil {
		out.line, out.column = tk.Position.Line+c.offset, max(tk.Position.Column, 1)
	}
	switch n := n.(type) {
	case *ast.MappingNode:
		c.mapping(out, n.Values, p)
	case *ast.MappingValueNode:
		c.mapping(out, []*ast.MappingValueNode{n}, p)
	case *ast.SequenceNode:
		out.kind = listNode
		for i, v := range n.Values {
			item := c.node(v, p.item(i))
			out.items = append(out.items, item)
			out.size += item.size
		}
	case *ast.AnchorNode:
		value := c.node(n.Value, p)
		c.anchors[n.Name.GetToken().Value] = value
		return value
	case *ast.AliasNode:
		return c.alias(n, out, p)
	case *ast.TagNode:
		c.bad(out.line, out.column, p, "tags such as "+n.Start.Value+" are not taken; write the value alone")
		return c.node(n.Value, p)
	default:
		c.scalar(out, n, p)
	}
	return out
}

func (c *converter) scalar(out *node, n ast.Node, p *path) {
	out.text = n.GetToken().Value
	switch n := n.(type) {
	case *ast.NullNode:
		out.kind, out.text = nullNode, ""
	case *ast.BoolNode:
		out.kind = boolNode
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		out.kind = numberNode
	case *ast.StringNode:
		out.kind, out.text = textNode, n.Value
	case *ast.LiteralNode:
		out.kind, out.text = textNode, n.Value.Value
	case *ast.CommentGroupNode:
		out.kind, out.text = nullNode, ""
	default:
		c.bad(out.line, out.column, p, fmt.Sprintf("a YAML %s is not taken here", n.Type()))
		out.kind = brokenNode
	}
}

// alias stands for the value of its anchor. An anchor is known after its value only, so nothing contains itself.
func (c *converter) alias(n *ast.AliasNode, out *node, p *path) *node {
	value, ok := c.anchors[n.Value.GetToken().Value]
	if !ok {
		c.bad(out.line, out.column, p, "the alias has no anchor before it in this document; want one, or the value itself")
		out.kind = brokenNode
		return out
	}
	if c.aliased += value.size; c.aliased > maxAliased {
		if c.aliased-value.size <= maxAliased {
			c.bad(out.line, out.column, p, fmt.Sprintf("aliases stand for more than %d values in all; want fewer", maxAliased))
		}
		out.kind = brokenNode
		return out
	}
	return value
}

func (c *converter) mapping(out *node, values []*ast.MappingValueNode, p *path) {
	out.kind = mappingNode
	seen := map[string]*node{}
	for _, v := range values {
		key := c.key(v)
		if len(out.entries) == 0 && !startsFlow(v) {
			out.line, out.column = key.line, key.column // the colon is the parser's place of a block mapping
		}
		if v.Key.IsMergeKey() {
			c.bad(key.line, key.column, p, "the merge key << is not taken; repeat the keys")
			continue
		}
		value := c.node(v.Value, p.key(key.text))
		if first, ok := seen[key.text]; ok {
			c.bad(key.line, key.column, p.key(key.text),
				fmt.Sprintf("the key stands twice, first on line %d; keep one", first.line))
			continue
		}
		seen[key.text] = key
		out.entries = append(out.entries, entry{key: key, value: value})
		out.size += value.size
	}
}

func (c *converter) key(v *ast.MappingValueNode) *node {
	out := &node{kind: textNode}
	tk := v.Key.GetToken()
	if k, ok := v.Key.(*ast.MappingKeyNode); ok && k.Value != nil {
		tk = k.Value.GetToken() // "? key", where the token of the node is the question mark
	}
	if tk != nil {
		out.text = tk.Value
		if tk.Position != nil {
			out.line, out.column = tk.Position.Line+c.offset, max(tk.Position.Column, 1)
		}
	}
	return out
}

// startsFlow tells whether an entry is the first of a mapping in braces.
func startsFlow(v *ast.MappingValueNode) bool {
	tk := v.Key.GetToken()
	return tk != nil && tk.Prev != nil && tk.Prev.Type == token.MappingStartType
}
