def int8_product(b, x, key, make):
    raise NotImplementedError
