"""Contract tests for layers of other packages: ``pytest --pyargs yolo_attn.testing --block my_package.blocks:MyBlock``.

``pytest_plugin``      the options ``--block`` and ``--block-options``; installed as a plugin of pytest, because pytest
                       reads no ``conftest.py`` of a package that is named with ``--pyargs`` before it checks options
``block_choice``       which blocks these options name
``block_inputs``       build a block, and the maps that it reads
``layer_contract``, ``precision_contract``, ``option_contract``, ``export_contract``, ``model_contract``
                       the checks; the tests of yolo-attn's own layers call them too
``test_block``         runs them on the chosen blocks

Only ``pytest_plugin`` and ``test_block`` import pytest, which is not a dependency of yolo-attn.
"""
