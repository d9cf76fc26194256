"""What pages of the site are made from. A module for each kind, with `pages()`: their texts by file name."""
