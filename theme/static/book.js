// book
