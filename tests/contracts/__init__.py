"""What every implementation of a seam keeps. A fake is an implementation that passes.

A test module gives `make`, which wraps bytes into its kind of body:

    @body_contract
    async def test_bytes_bodies_keep_the_contract(check: BodyCheck) -> None:
        await check(make)
"""
